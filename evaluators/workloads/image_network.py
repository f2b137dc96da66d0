"""What the workloads on pictures of digits share: where data come from, training, caches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, final

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from dse.design import NetworkShape, Value, content_hash
from dse.errors import EvaluationError, SpecError
from dse.ports import Progress
from evaluators.data.cache import Cache, Parts, Stored
from evaluators.data.images import SIDE, Images, Source, pack, split, unpack
from evaluators.data.mnist import Mnist
from evaluators.data.small_digits import SmallDigits
from evaluators.models.pictures import Shuffled, class_loss, floats
from evaluators.models.tracing import trace
from evaluators.models.training import Course, one_thread, train
from evaluators.network import Lessons
from evaluators.registry import Places
from evaluators.workloads.metrics import METRICS, Mean
from evaluators.workloads.params import checked
from evaluators.workloads.prepared import Preparation, Prepared

Splits = Mapping[str, Images]
Labelled = tuple[Tensor, Tensor]
"""Pictures, float32 (batch, 1, height, width), and their labels."""

_TRAINING = 1
_BATCH_DRAW = 12
_TOGETHER = 128
_ALLOWED = {
    "corpus": "digits or mnist",
    "steps": "an integer from 1 to 100000",
    "seed": "an integer from 0 to 4294967295",
}


def top1_error(model: nn.Module, batches: Sequence[Labelled]) -> float:
    """Return the share of wrong classes, %."""
    mean = Mean(METRICS["top1-error"])
    for pictures, labels in batches:
        mean.add(model(pictures), labels)
    return mean.value


def as_they_are(splits: Splits) -> Splits:
    return splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one workload on digits consists of.

    Attributes:
        network: makes the untrained network; called with torch's seed set.
        steps: training batches where the user asks for no number.
        course: of training, given its steps.
        batch: pictures of a training batch.
        shift: pixels by which training pictures move at most.
        retraining_rate: of Adam in retraining.
        error: of a network on the batches of a split, %.
        side: pixels of a picture's edge.
        pictures: makes the pictures that the network sees of the digits, split by split.
        recipe: names what `pictures` makes; another name whenever that changes.
        defaults: knob -> what it stands at where no knob line names it.
    """

    name: str
    network: Callable[[], nn.Module]
    steps: int
    course: Callable[[int], Course]
    batch: int = 64
    shift: int = 2
    retraining_rate: float = 1e-3
    error: Callable[[nn.Module, Sequence[Labelled]], float] = top1_error
    side: int = SIDE
    pictures: Callable[[Splits], Splits] = as_they_are
    recipe: str = "digits"
    defaults: Mapping[str, Value] = field(default_factory=dict)


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    corpus: Literal["digits", "mnist"]
    steps: int = Field(ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)


@final
class ImageNetwork:
    """A task as a workload; fulfils `evaluators.network.Trainable`.

    Args:
        params: `corpus`: "digits", scikit-learn's, or "mnist", the user's folder; left out, mnist
            if its folder is given. `steps`: training batches. `seed`: of weights and order.

    Raises:
        SpecError: a parameter is unknown or out of range.
    """

    metrics: tuple[str, ...] = ("error",)
    splits: tuple[str, ...] = ("search", "test")
    trainable = True

    def __init__(self, task: Task, params: Mapping[str, object], places: Places) -> None:
        folder = places.folders.get("mnist")
        found = {"corpus": "mnist" if folder else "digits", "steps": task.steps}
        self._task = task
        self._params = checked(_Params, {**found, **params}, workload=task.name, allowed=_ALLOWED)
        self._folder = folder
        self._cache = Cache(places.home / "cache")
        self._preparation = Preparation[Sequence[Labelled]](self.name)

    @property
    def name(self) -> str:
        return self._task.name

    @property
    def params(self) -> Mapping[str, object]:
        return self._params.model_dump()

    @cached_property
    def shape(self) -> NetworkShape:
        side = self._task.side
        return trace(self._untrained(), (torch.zeros(1, 1, side, side),)).shape

    @property
    def defaults(self) -> Mapping[str, Value]:
        return self._task.defaults

    @property
    def needs(self) -> str | None:
        try:
            return self._source.missing()
        except SpecError as error:
            return str(error)

    @property
    def digest(self) -> str:
        return self._preparation.result.digest

    def prepare(self, progress: Progress) -> None:
        """Make the pictures and train, or load both from the cache. Safe to repeat.

        Training runs on one thread and is reproducible for one torch build and kind of processor.

        Raises:
            SpecError: the digits are missing, or a file of theirs is not as it must be.
            EvaluationError: training ends in weights that are not finite.
            CacheError: DSE_HOME cannot be written or read.
        """
        if self._preparation.done is not None:
            return
        held_out = self._corpus_part("held_out", progress)
        weights = self._trained(progress)
        splits = unpack(held_out.tensors)
        calibration = splits.pop("calibration")
        self._preparation.done = Prepared(
            weights=weights.tensors,
            splits={name: _batches(images) for name, images in splits.items()},
            calibration=[(one,) for one in torch.split(floats(calibration.pixels), 1)],
            digest=content_hash([held_out.digest, weights.digest]),
        )

    def model(self) -> nn.Module:
        """Return a fresh copy of the trained float network, in evaluation mode."""
        model = self._untrained()
        model.load_state_dict(self._preparation.result.weights)
        return model

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        """Return pictures that no split has, (1, 1, height, width) each."""
        return self._preparation.result.calibration

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Return `error`, %.

        Raises:
            UnknownNameError: no such split.
        """
        data = self._preparation.split(split, self.splits)
        with torch.no_grad():
            return {"error": self._task.error(model, data)}

    def lessons(self, progress: Progress) -> Lessons:
        """Load the training data: batches as in training."""
        return Lessons(
            batches=self._shuffled(progress).batches,
            loss=class_loss,
            learning_rate=self._task.retraining_rate,
        )

    @cached_property
    def _source(self) -> Source:
        if self._params.corpus == "digits":
            return SmallDigits()
        if self._folder is None:
            raise SpecError(
                "corpus mnist needs the folder of your copy of MNIST: set DSE_MNIST to it; costs "
                "can be had without"
            )
        return Mnist(self._folder)

    @cached_property
    def _corpus_key(self) -> str:
        # once: the key that the weights were trained under is the one that retraining reads
        return content_hash({"pictures": self._task.recipe, "of": self._source.identity()})

    def _corpus_part(self, part: str, progress: Progress) -> Stored:
        def make() -> Parts:
            splits = dict(self._task.pictures(split(*self._source.read(progress))))
            # Training data lie apart: an evaluating process never loads them.
            return {"train": pack({"train": splits.pop("train")}), "held_out": pack(splits)}

        return self._cache.fetch("corpus", self._corpus_key, part, make, progress)

    def _shuffled(self, progress: Progress) -> Shuffled:
        images = unpack(self._corpus_part("train", progress).tensors)["train"]
        return Shuffled(
            pixels=images.pixels,
            labels=images.labels,
            size=self._task.batch,
            shift=self._task.shift,
        )

    def _trained(self, progress: Progress) -> Stored:
        steps, seed = self._params.steps, self._params.seed
        identity = {
            "workload": self.name,
            "training": _TRAINING,
            "corpus": self._corpus_key,
            "steps": steps,
            "seed": seed,
            "torch": torch.__version__,
        }

        def make() -> Parts:
            model = self._untrained()
            shuffled = self._shuffled(progress)
            with one_thread():
                train(
                    model,
                    shuffled.batches(np.random.default_rng([seed, _BATCH_DRAW])),
                    self._task.course(steps),
                    loss=class_loss,
                    generator=torch.Generator(),
                    progress=progress,
                )
            weights = model.state_dict()
            if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
                raise EvaluationError(f"{self.name}: training must end in finite weights")
            return {"weights": weights}

        return self._cache.fetch("weights", content_hash(identity), "weights", make, progress)

    def _untrained(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._params.seed)
            return self._task.network().eval()


def _batches(images: Images) -> Sequence[Labelled]:
    return list(
        zip(
            torch.split(floats(images.pixels), _TOGETHER),
            torch.split(images.labels.long(), _TOGETHER),
            strict=True,
        )
    )
