"""What can be told of evaluations without loading torch."""

import math
from collections.abc import Mapping
from functools import cache
from importlib import metadata

from dse.design import Choices, Design, content_hash
from dse.errors import EvaluationError

HONOURED = (
    *("w_bits", "a_bits", "act_quantizer", "w_granularity", "a_symmetry"),
    *("psum_bits", "psum_group", "dataflow"),
)
"""Knobs that the accuracy evaluator obeys."""

VERSION = 1
"""Raised whenever the same design would get other metrics than before."""

RETRAINING_VERSION = 3
"""Raised whenever the same retraining would give another file than before."""


def evaluation_key(
    *,
    workload: str,
    digest: str,
    choices: Choices | None,
    arithmetic: Mapping[str, Mapping[str, int | str]],
    split: str,
    weights: str | None = None,
) -> str:
    """Return the content key of a measurement: SHA-256 (hex) over all that it depends on.

    Args:
        workload: registry name.
        digest: the network's, over data and weights.
        choices: the design; values at their neutral make no difference. None is the float
            network, which is not the design that stands at neutral everywhere.
        arithmetic: layer -> what the platform said of it; layers with nothing said make no
            difference.
        split: "search" or "test".
        weights: SHA-256 of the beacon weights it ran on; None: the network's own.
    """
    told: dict[str, object] = {
        "version": VERSION,
        "torch": _torch_version(),
        "workload": workload,
        "network": digest,
        "design": None if choices is None else Design(choices).hash,
        "arithmetic": {layer: dict(said) for layer, said in arithmetic.items() if said},
        "split": split,
    }
    return content_hash(told if weights is None else told | {"weights": weights})


def retraining_key(
    *,
    workload: str,
    digest: str,
    choices: Choices,
    arithmetic: Mapping[str, Mapping[str, int | str]],
    steps: int,
    seed: int,
    learn_exponents: bool = False,
) -> str:
    """Return the content key of a retraining; arguments as of `evaluation_key`."""
    told = {
        "retraining": RETRAINING_VERSION,
        "torch": _torch_version(),
        "workload": workload,
        "network": digest,
        "design": Design(choices).hash,
        "arithmetic": {layer: dict(said) for layer, said in arithmetic.items() if said},
        "steps": steps,
        "seed": seed,
    }
    return content_hash(told | {"learn_exponents": True} if learn_exponents else told)


def finite_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return `metrics` as plain floats.

    Raises:
        EvaluationError: one of them is not finite.
    """
    plain = {name: float(value) for name, value in metrics.items()}
    for name, value in plain.items():
        if not math.isfinite(value):
            raise EvaluationError(f"metric {name!r} must be finite, got {value}")
    return plain


@cache
def _torch_version() -> str:
    return metadata.version("torch")
