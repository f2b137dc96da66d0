"""Workload `vit-digits`: digits told apart by a small vision transformer."""

from collections.abc import Mapping
from typing import Final

from evaluators.models.training import Course
from evaluators.models.vit import VisionTransformer
from evaluators.registry import Places
from evaluators.workloads.image_network import ImageNetwork, Task

_TASK: Final = Task(
    name="vit-digits",
    network=VisionTransformer,
    steps=1000,
    course=lambda steps: Course(steps=steps, learning_rate=2e-3, fall="cosine"),
)


def vit_digits(params: Mapping[str, object], places: Places) -> ImageNetwork:
    """Make the workload; data and training wait for `prepare`.

    Raises:
        SpecError: a parameter is unknown or out of range.
    """
    return ImageNetwork(_TASK, params, places)
