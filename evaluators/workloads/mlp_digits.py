"""Workload `mlp-digits`: digits told apart by a perceptron of three layers."""

from collections.abc import Mapping
from typing import Final

from evaluators.models.lenet import perceptron
from evaluators.models.training import Course
from evaluators.registry import Places
from evaluators.workloads.image_network import ImageNetwork, Task

_TASK: Final = Task(
    name="mlp-digits",
    network=perceptron,
    steps=1000,
    course=lambda steps: Course(steps=steps, learning_rate=3e-3),
    shift=1,
)


def mlp_digits(params: Mapping[str, object], places: Places) -> ImageNetwork:
    """Make the workload; data and training wait for `prepare`.

    Raises:
        SpecError: a parameter is unknown or out of range.
    """
    return ImageNetwork(_TASK, params, places)
