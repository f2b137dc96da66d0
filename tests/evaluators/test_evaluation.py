import math
import subprocess
import sys
from typing import Any

import pytest

from dse.errors import EvaluationError
from evaluators.evaluation import evaluation_key, finite_metrics

_BASE: dict[str, Any] = {
    "workload": "tiny",
    "digest": "ab",
    "choices": {"w_bits": {"first": 4, "out": 16}, "a_bits": {"first": 16}},
    "arithmetic": {},
    "split": "search",
}


@pytest.mark.parametrize(
    "change",
    [
        {"workload": "other"},
        {"digest": "cd"},
        {"choices": None},
        {"choices": {}},
        {"choices": {"w_bits": {"first": 8}}},
        {"choices": {"a_bits": {"first": 4}}},
        {"arithmetic": {"first": {"tile": 8}}},
        {"split": "test"},
    ],
)
def test_everything_that_a_measurement_depends_on_changes_its_key(change: dict[str, Any]) -> None:
    assert evaluation_key(**_BASE | change) != evaluation_key(**_BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"choices": {"w_bits": {"first": 4}}},
        {"choices": {"a_bits": {"out": 16}, "w_bits": {"out": 16, "first": 4}}},
        {"arithmetic": {"first": {}}},
    ],
)
def test_what_makes_no_difference_keeps_the_key(change: dict[str, Any]) -> None:
    assert evaluation_key(**_BASE | change) == evaluation_key(**_BASE)


def test_float_network_and_neutral_design_differ() -> None:
    assert evaluation_key(**_BASE | {"choices": None}) != evaluation_key(**_BASE | {"choices": {}})


def test_key_is_told_without_torch() -> None:
    code = "import sys, evaluators.evaluation as e; e.evaluation_key(workload='w', digest='d', "
    code += "choices=None, arithmetic={}, split='search'); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_metric_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(EvaluationError, match=f"'error' must be finite, got {value}"):
        finite_metrics({"error": value})
