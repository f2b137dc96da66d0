"""Workload `sru-phones`: phone recognition with four bidirectional SRU layers."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from dse.design import NetworkShape, Value, content_hash
from dse.errors import SpecError
from dse.ports import Progress
from evaluators.data.cache import Cache, Parts, Stored
from evaluators.data.features import INPUTS
from evaluators.data.phones import CLASSES
from evaluators.data.speech import Speech
from evaluators.data.timit import Timit
from evaluators.data.utterances import Utterance, pack, unpack
from evaluators.models.sru import SruTagger, shape
from evaluators.models.training import Chunks, Course, FrameLoss, one_thread, train
from evaluators.network import Lessons
from evaluators.registry import Places
from evaluators.workloads.params import checked
from evaluators.workloads.phone_error import Batch, batches, measure
from evaluators.workloads.prepared import Preparation, Prepared

_FEATURES = 1
_TRAINING = 1
_MOST_CALIBRATION, _MOST_HELD_OUT = 72, 120
_CALIBRATION_DRAW, _CHUNK_DRAW = 10, 11
_RETRAINING_DROPOUT = 0.05
_ALLOWED = {
    "corpus": "espeak or timit",
    "sentences": "an integer from 20 to 20000",
    "steps": "an integer from 1 to 100000",
    "seed": "an integer from 0 to 4294967295",
}


def sru_phones(params: Mapping[str, object], places: Places) -> "SruPhones":
    """Make the workload; data and training wait for `prepare`.

    Args:
        params: `corpus`: "espeak", synthetic speech in noise (default), or "timit", the user's
            folder; `sentences`: training sentences, of TIMIT at most; `steps`: training batches;
            `seed`: of words, voices, noise, weights and order.

    Raises:
        SpecError: a parameter is unknown or out of range, or the TIMIT folder is not given.
    """
    return SruPhones(checked(_Params, params, workload="sru-phones", allowed=_ALLOWED), places)


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    corpus: Literal["espeak", "timit"] = "espeak"
    sentences: int = Field(default=2000, ge=20, le=20_000)
    steps: int = Field(default=528, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)


class _Corpus(Protocol):
    def identity(self) -> dict[str, object]: ...
    def build(self, progress: Progress) -> dict[str, list[Utterance]]: ...


class SruPhones:
    """The workload; fulfils `evaluators.network.Network`.

    Attributes:
        splits: what `measure` knows: "search", "test" (unseen sentences, half of their words
            unseen) and, of synthetic speech, "unseen" (voices that no other split has).
    """

    name = "sru-phones"
    trainable = True
    needs = None
    defaults: Mapping[str, Value] = {}
    metrics: tuple[str, ...] = ("error", "frame_error")

    def __init__(self, params: _Params, places: Places) -> None:
        self._params = params
        self._cache = Cache(places.home / "cache")
        self._corpus = _corpus(params, places)
        self._preparation = Preparation[Sequence[Batch]](self.name)

    @property
    def params(self) -> Mapping[str, object]:
        return self._params.model_dump()

    @property
    def shape(self) -> NetworkShape:
        return shape(INPUTS, len(CLASSES))

    @property
    def splits(self) -> tuple[str, ...]:
        synthetic = self._params.corpus == "espeak"
        return ("search", "test", "unseen") if synthetic else ("search", "test")

    @property
    def digest(self) -> str:
        return self._preparation.result.digest

    def prepare(self, progress: Progress) -> None:
        """Make the corpus and train, or load both from the cache. Safe to repeat.

        Training runs on one thread and is reproducible for one torch build and kind of processor.

        Raises:
            SpecError: the TIMIT folder is not as it must be.
            EvaluationError: a package is missing or the synthesiser fails.
            CacheError: DSE_HOME cannot be written or read.
        """
        if self._preparation.done is not None:
            return
        corpus_key = content_hash({"features": _FEATURES, **self._corpus.identity()})
        held_out = self._corpus_part("held_out", corpus_key, progress)
        weights = self._trained(corpus_key, progress)
        splits = unpack(held_out.tensors)
        calibration = splits.pop("calibration")
        self._preparation.done = Prepared(
            weights=weights.tensors,
            splits={name: batches(utterances) for name, utterances in splits.items()},
            calibration=[(one.features.unsqueeze(0),) for one in calibration],
            digest=content_hash([held_out.digest, weights.digest]),
        )

    def model(self) -> SruTagger:
        """Return a fresh copy of the trained float network, in evaluation mode."""
        model = _untrained(torch.Generator())
        model.load_state_dict(self._preparation.result.weights)
        return model.eval()

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        """Return train utterances, features (1, time, 80) each."""
        return self._preparation.result.calibration

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Return `error` (phone error rate) and `frame_error`, both in %.

        Raises:
            UnknownNameError: no such split.
        """
        data = self._preparation.split(split, self.splits)
        return measure(model, data)

    def lessons(self, progress: Progress) -> Lessons:
        """Load the training data: chunks of utterances, as in training."""
        return Lessons(
            batches=self._chunks(progress).batches,
            loss=FrameLoss(dropout=_RETRAINING_DROPOUT),
            learning_rate=3e-3,
            refit_inputs=25,
            look=75,
        )

    def _chunks(self, progress: Progress) -> Chunks:
        key = content_hash({"features": _FEATURES, **self._corpus.identity()})
        utterances = unpack(self._corpus_part("train", key, progress).tensors)["train"]
        return Chunks([(one.features, one.labels) for one in utterances])

    def _corpus_part(self, part: str, key: str, progress: Progress) -> Stored:
        def make() -> Parts:
            return self._parts(self._corpus.build(progress))

        return self._cache.fetch("corpus", key, part, make, progress)

    def _parts(self, splits: Mapping[str, list[Utterance]]) -> Parts:
        """Lay training data apart, which an evaluating process never loads."""
        train = splits["train"]
        draw = np.random.default_rng([self._params.seed, _CALIBRATION_DRAW])
        count = min(_MOST_CALIBRATION, max(8, len(train) // 5))
        chosen = [train[i] for i in sorted(draw.permutation(len(train))[:count].tolist())]
        others = {name: split for name, split in splits.items() if name != "train"}
        return {
            "train": pack({"train": train}),
            "held_out": pack({**others, "calibration": chosen}),
        }

    def _trained(self, corpus_key: str, progress: Progress) -> Stored:
        identity = {
            "training": _TRAINING,
            "corpus": corpus_key,
            "steps": self._params.steps,
            "seed": self._params.seed,
            "torch": torch.__version__,
        }

        def make() -> Parts:
            generator = torch.Generator().manual_seed(self._params.seed)
            random = np.random.default_rng([self._params.seed, _CHUNK_DRAW])
            model = _untrained(generator)
            chunks = self._chunks(progress)
            with one_thread():
                train(
                    model,
                    chunks.batches(random),
                    Course(steps=self._params.steps),
                    loss=FrameLoss(),
                    generator=generator,
                    progress=progress,
                )
            return {"weights": model.state_dict()}

        return self._cache.fetch("weights", content_hash(identity), "weights", make, progress)


def _untrained(generator: torch.Generator) -> SruTagger:
    return SruTagger(inputs=INPUTS, classes=len(CLASSES), generator=generator)


def _corpus(params: _Params, places: Places) -> _Corpus:
    if params.corpus == "espeak":
        held_out = min(_MOST_HELD_OUT, max(8, params.sentences // 10))
        return Speech(sentences=params.sentences, held_out=held_out, seed=params.seed)
    folder = places.folders.get("timit")
    if folder is None:
        raise SpecError("corpus timit needs the folder of your copy of TIMIT: set DSE_TIMIT to it")
    return Timit(folder=folder, sentences=params.sentences, seed=params.seed)
