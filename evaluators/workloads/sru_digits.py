"""Workload `sru-digits`: connected spoken digits with four bidirectional SRU layers and CTC."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from dse.design import NetworkShape, Value, content_hash
from dse.errors import SpecError
from dse.ports import Progress
from evaluators.data.cache import Cache, Parts, Stored
from evaluators.data.digits import (
    Strings,
    pack,
    pack_recordings,
    unpack,
    unpack_recordings,
)
from evaluators.data.features import INPUTS
from evaluators.data.fsdd import Fsdd
from evaluators.models.ctc import CtcLoss
from evaluators.models.sru import SruTagger, shape
from evaluators.models.training import Course, one_thread, train
from evaluators.network import Lessons
from evaluators.registry import Places
from evaluators.workloads.digit_error import Batch, batches, measure
from evaluators.workloads.params import checked
from evaluators.workloads.prepared import Preparation, Prepared

_CLASSES = 11
_HIDDEN = _PROJECTED = 96
_STRINGS_VERSION = 1
_TRAINING = 1
_STRING_DRAW = 11
# Name in the corpus -> split of the recordings, number of strings, seed.
_SETS = {
    "search": ("search", 200, 101),
    "test": ("test", 200, 102),
    "unseen": ("unseen", 100, 103),
    "calibration": ("train", 72, 104),
}
_ALLOWED = {
    "held_out": "a speaker's name",
    "steps": "an integer from 1 to 100000",
    "seed": "an integer from 0 to 4294967295",
}


def sru_digits(params: Mapping[str, object], places: Places) -> "SruDigits":
    """Make the workload; data and training wait for `prepare`.

    Args:
        params: `held_out`: the speaker who is heard in the split "unseen" alone; `steps`:
            training batches; `seed`: of weights and training strings.

    Raises:
        SpecError: a parameter is unknown or out of range, or DSE_FSDD is not set or not such a
            folder.
    """
    return SruDigits(checked(_Params, params, workload="sru-digits", allowed=_ALLOWED), places)


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    held_out: str = "lucas"
    steps: int = Field(default=600, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)


class SruDigits:
    """The workload; fulfils `evaluators.network.Trainable`.

    Attributes:
        splits: what `measure` knows: "search" and "test" (recordings that training has not
            heard, of its own speakers) and "unseen" (a speaker that no other split has).
    """

    name = "sru-digits"
    metrics: tuple[str, ...] = ("error", "string_error")
    splits: tuple[str, ...] = ("search", "test", "unseen")
    trainable = True
    defaults: Mapping[str, Value] = {}

    def __init__(self, params: _Params, places: Places) -> None:
        self._params = params
        self._cache = Cache(places.home / "cache")
        self._folder = places.folders.get("fsdd")
        self._preparation = Preparation[Sequence[Batch]](self.name)

    @property
    def params(self) -> Mapping[str, object]:
        return self._params.model_dump()

    @property
    def shape(self) -> NetworkShape:
        return shape(INPUTS, _CLASSES, hidden=_HIDDEN, projected=_PROJECTED)

    @property
    def needs(self) -> str | None:
        try:
            _ = self._recordings
        except SpecError as error:
            return str(error)
        return None

    @property
    def digest(self) -> str:
        return self._preparation.result.digest

    def prepare(self, progress: Progress) -> None:
        """Put the strings together and train, or load both from the cache. Safe to repeat.

        Training runs on one thread and is reproducible for one torch build and kind of processor.

        Raises:
            SpecError: there are no recordings, or one is not as it must be.
            CacheError: DSE_HOME cannot be written or read.
        """
        if self._preparation.done is not None:
            return
        key = self._corpus_key
        held_out = self._corpus_part("held_out", key, progress)
        weights = self._trained(key, progress)
        splits = unpack(held_out.tensors)
        calibration = splits.pop("calibration")
        self._preparation.done = Prepared(
            weights=weights.tensors,
            splits={name: batches(strings) for name, strings in splits.items()},
            calibration=[(one.features.unsqueeze(0),) for one in calibration],
            digest=content_hash([held_out.digest, weights.digest]),
        )

    def model(self) -> SruTagger:
        """Return a fresh copy of the trained float network, in evaluation mode."""
        model = _untrained(torch.Generator())
        model.load_state_dict(self._preparation.result.weights)
        return model.eval()

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        """Return strings of train recordings, features (1, time, 80) each."""
        return self._preparation.result.calibration

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Return `error` (word error rate) and `string_error`, both in %.

        Raises:
            UnknownNameError: no such split.
        """
        data = self._preparation.split(split, self.splits)
        return measure(model, data)

    def lessons(self, progress: Progress) -> Lessons:
        """Load the training data: strings made on the fly, as in training, none of them short."""
        return Lessons(
            batches=self._strings(self._corpus_key, progress).batches,
            loss=CtcLoss(),
            learning_rate=1e-3,
            clip=5.0,
        )

    @cached_property
    def _recordings(self) -> Fsdd:
        if self._folder is None:
            raise SpecError(
                "the recordings of the Free Spoken Digit Dataset: set DSE_FSDD to their folder; "
                "costs can be had without"
            )
        return Fsdd(self._folder, held_out=self._params.held_out)

    @cached_property
    def _corpus_key(self) -> str:
        # once: the key that the weights were trained under is the one that retraining reads
        return content_hash({"strings": _STRINGS_VERSION, **self._recordings.identity()})

    def _corpus_part(self, part: str, key: str, progress: Progress) -> Stored:
        def make() -> Parts:
            read = self._recordings.read(progress)
            drawn = {}
            for done, (name, (split, count, seed)) in enumerate(_SETS.items(), start=1):
                strings = Strings(read[split], varied=False)
                random = np.random.default_rng(seed)
                with one_thread():
                    drawn[name] = [strings.draw(random) for _ in range(count)]
                progress("stringing digits", done, len(_SETS))
            # Training data lie apart: an evaluating process never loads them.
            return {"train": pack_recordings(read["train"]), "held_out": pack(drawn)}

        return self._cache.fetch("corpus", key, part, make, progress)

    def _strings(self, corpus_key: str, progress: Progress) -> Strings:
        train_part = self._corpus_part("train", corpus_key, progress)
        return Strings(unpack_recordings(train_part.tensors), varied=True)

    def _trained(self, corpus_key: str, progress: Progress) -> Stored:
        steps, seed = self._params.steps, self._params.seed
        identity = {
            "workload": self.name,
            "training": _TRAINING,
            "corpus": corpus_key,
            "steps": steps,
            "seed": seed,
            "torch": torch.__version__,
        }

        def make() -> Parts:
            generator = torch.Generator().manual_seed(seed)
            random = np.random.default_rng([seed, _STRING_DRAW])
            model = _untrained(generator)
            strings = self._strings(corpus_key, progress)
            with one_thread():
                train(
                    model,
                    # Alignments are found sooner on short strings.
                    strings.batches(random, short=3 * steps // 10),
                    Course(
                        steps=steps,
                        learning_rate=3e-3,
                        betas=(0.9, 0.98),
                        last_rate=0.0,
                        fall="cosine",
                        clip=5.0,
                    ),
                    loss=CtcLoss(),
                    generator=generator,
                    progress=progress,
                )
            return {"weights": model.state_dict()}

        return self._cache.fetch("weights", content_hash(identity), "weights", make, progress)


def _untrained(generator: torch.Generator) -> SruTagger:
    return SruTagger(
        inputs=INPUTS,
        classes=_CLASSES,
        hidden=_HIDDEN,
        projected=_PROJECTED,
        generator=generator,
    )
