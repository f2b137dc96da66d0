"""Platform files: YAML, one of which may be the base of another.

A base is a file of the same folder or one of `presets`; what a file says takes the place of what
its base says, constants and lists as a whole, other mappings key by key.
"""

import stat
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from dse.errors import SpecError
from dse.plain_yaml import load_mapping
from evaluators.hardware.own.definition import Definition, definition

MOST_BYTES: Final = 200_000
_MOST_BASES: Final = 8
_PRESETS: Final = files("evaluators.hardware.own.presets")


def read_definition(path: Path) -> Definition:
    """Read a platform file with its bases. Runs nothing.

    Raises:
        SpecError: a file that cannot be read or is no platform, naming file and key, what was
            given and what is allowed.
    """
    said, chain = _flattened(path, (str(path),))
    bases = "".join(f" with base {Path(each).name}" for each in chain[1:])
    return definition(said, origin=f"{path}{bases}")


def presets() -> list[str]:
    """Return the names of the bases that come along."""
    return sorted(
        each.name.removesuffix(".yaml") for each in _PRESETS.iterdir() if ".yaml" in each.name
    )


def _flattened(
    path: Path | Traversable, chain: tuple[str, ...]
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return what a file says with its bases, and the files that were read."""
    said = load_mapping(_text(path), what=f"platform file {path.name}", max_bytes=MOST_BYTES)
    for key in said:
        if not isinstance(key, str):
            raise SpecError(f"{path}: keys must be texts, got {key!r:.60}")
    base = said.pop("base", None)
    if base is None:
        return said, chain
    if not isinstance(base, str):
        raise SpecError(f"{path}: base must be {_allowed()}, got {base!r:.60}")
    if len(chain) > _MOST_BASES:
        raise SpecError(f"{path}: at most {_MOST_BASES} bases may follow one another")
    found = _base(path, base)
    if str(found) in chain:
        told = " -> ".join(Path(each).name for each in (*chain, str(found)))
        raise SpecError(f"{path}: base {base!r} leads back to itself: {told}")
    below, read = _flattened(found, (*chain, str(found)))
    return _merged(below, said), read


def _base(path: Path | Traversable, base: str) -> Path | Traversable:
    if base in presets():
        return _PRESETS.joinpath(f"{base}.yaml")
    if not isinstance(path, Path) or Path(base).name != base or not base.endswith(".yaml"):
        raise SpecError(f"{path}: base must be {_allowed()}, got {base!r:.60}")
    beside = path.parent / base
    if beside.is_symlink():
        raise SpecError(f"{path}: base {base!r} is a symbolic link; allowed: {_allowed()}")
    return beside


def _allowed() -> str:
    return f"a .yaml file of the same folder, by its name alone, or one of {', '.join(presets())}"


def _text(path: Path | Traversable) -> bytes:
    try:
        if isinstance(path, Path) and not stat.S_ISREG(path.stat().st_mode):
            raise SpecError(f"{path} must be a file")
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in a name
        raise SpecError(f"cannot read platform file {path}: {error}") from error


def _merged(base: Mapping[str, object], said: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in said.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and not _is_constant(value):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _is_constant(value: Mapping[object, object]) -> bool:
    return any(key in value for key in ("value", "unit", "source"))
