"""Workload `segformer-digits`: several digits on a textured ground, found pixel by pixel."""

from collections.abc import Mapping
from typing import Final

from evaluators.data.scenes import RECIPE, SCENE_SIDE, compose
from evaluators.models.segformer import SegFormer
from evaluators.models.training import Course
from evaluators.registry import Places
from evaluators.workloads.image_network import ImageNetwork, Task
from evaluators.workloads.mean_iou import segmentation_error

_TASK: Final = Task(
    name="segformer-digits",
    network=SegFormer,
    steps=1200,
    course=lambda steps: Course(steps=steps, learning_rate=2e-3, fall="cosine"),
    batch=16,
    shift=0,
    error=segmentation_error,
    side=SCENE_SIDE,
    pictures=compose,
    recipe=RECIPE,
)


def segformer_digits(params: Mapping[str, object], places: Places) -> ImageNetwork:
    """Make the workload; data and training wait for `prepare`.

    Raises:
        SpecError: a parameter is unknown or out of range.
    """
    return ImageNetwork(_TASK, params, places)
