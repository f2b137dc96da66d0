from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dse.errors import SpecError

Params = TypeVar("Params", bound=BaseModel)


def checked(
    kind: type[Params], params: Mapping[str, object], *, workload: str, allowed: Mapping[str, str]
) -> Params:
    """Return a workload's parameters, complete with defaults.

    Args:
        allowed: of each parameter, what it may be, in words.

    Raises:
        SpecError: one is unknown or out of range.
    """
    try:
        return kind.model_validate(dict(params))
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        if name not in allowed:
            raise SpecError(
                f"{workload} takes no parameter {name!r}; allowed: {', '.join(allowed)}"
            ) from error
        raise SpecError(
            f"{workload}: {name} must be {allowed[name]}, got {params[name]!r}"
        ) from error
