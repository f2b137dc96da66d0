from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dse.errors import DseError
from evaluators.workloads.definition import Definition, inputs_of

INPUTS, LABELS = torch.zeros(4, 6), torch.zeros(4, dtype=torch.int64)


def _definition(**changed: Any) -> Definition:
    pairs = [(INPUTS, LABELS)]
    parts: dict[str, Any] = {
        "model": lambda: nn.Linear(6, 3),
        "calibration": [INPUTS],
        "search": pairs,
        "test": pairs,
        "metric": "top1-error",
    }
    return Definition(**{**parts, **changed})


def test_least_definition_is_enough() -> None:
    made = _definition()

    assert made.train is None
    assert made.defaults == {}


def _own(outputs: Tensor, targets: Tensor) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": nn.Linear(6, 3)}, "model must be a function that makes the network"),
        ({"model": 3}, "model must be a function, got int"),
        ({"fit": 3}, "fit must be a function, got int"),
        ({"metric": "accuracy"}, "unknown metric 'accuracy'; allowed: top1-error"),
        ({"calibration": []}, "calibration must be a sequence of at least one batch"),
        ({"calibration": INPUTS}, "calibration must be a sequence of at least one batch"),
        ({"calibration": [torch.tensor(1.0)]}, r"calibration\[0\].*got a scalar"),
        ({"calibration": [(INPUTS, INPUTS[:2])]}, r"calibration\[0\].*got \[2, 4\]"),
        ({"calibration": [INPUTS[:0]]}, "at least one sample"),
        ({"search": []}, "search must be a sequence"),
        ({"search": [INPUTS]}, r"search\[0\] must be \(inputs, targets\), got Tensor"),
        ({"search": [(INPUTS, [0] * 4)]}, r"targets of search\[0\] must be a tensor"),
        ({"search": [([INPUTS], LABELS)]}, "must be a tensor or a tuple of tensors, got list"),
        ({"test": [(INPUTS, LABELS[:3])]}, r"test\[0\] has 4 inputs and 3 targets"),
        ({"train": []}, "train must be a sequence"),
        ({"train": [(INPUTS, LABELS)], "metric": _own}, "needs a loss"),
        ({"learning_rate": 0}, "learning_rate must be above 0, got 0"),
        ({"defaults": {"z_bits": 4}}, "unknown knob in defaults 'z_bits'"),
        ({"defaults": {"w_bits": 9}}, "defaults of w_bits must be one of .*, got 9"),
    ],
)
def test_parts_that_cannot_be_used_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DseError, match=message):
        _definition(**changed)


def test_one_tensor_or_several_are_the_arguments_of_a_call() -> None:
    assert inputs_of(INPUTS) == (INPUTS,)
    assert inputs_of((INPUTS, LABELS)) == (INPUTS, LABELS)
