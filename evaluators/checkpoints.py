"""How far retrainings are, on disk: what a killed one goes on from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from dse.errors import CacheError
from dse.tasks import CurvePoint
from evaluators.data.cache import read_tensors, write_tensors

_SUFFIX = ".checkpoint"

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A retraining between two batches.

    Attributes:
        step: batches done.
        curve: its looks at the search split.
        best_step, best: the best of them, and the weights then.
        model: the weights now.
        adam: parameter index -> the optimizer's tensors.
        noise: state of the generator of noise.
    """

    step: int
    curve: list[CurvePoint]
    best_step: int
    best: State
    model: State
    adam: Mapping[int, Mapping[str, Tensor]]
    noise: Tensor


@final
class Checkpoints:
    """One file a retraining, named by its key; a damaged one counts as none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: str) -> Checkpoint | None:
        """Return where the retraining stood, if anything is known.

        Raises:
            CacheError: the file cannot be read.
        """
        found = read_tensors(self._path(key))
        return None if found is None else _unpack(found.tensors)

    def save(self, key: str, checkpoint: Checkpoint) -> None:
        """Raises CacheError: the file cannot be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(f"cannot write below {self._folder}: {error.strerror}") from error
        write_tensors(self._path(key), _pack(checkpoint))

    def drop(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"


def _pack(checkpoint: Checkpoint) -> dict[str, Tensor]:
    told = {
        "step": checkpoint.step,
        "best_step": checkpoint.best_step,
        "curve": [[p.step, p.loss, p.error] for p in checkpoint.curve],
    }
    tensors = {
        "told": torch.frombuffer(bytearray(json.dumps(told).encode()), dtype=torch.uint8),
        "noise": checkpoint.noise,
    }
    tensors |= {f"best/{name}": tensor for name, tensor in checkpoint.best.items()}
    tensors |= {f"model/{name}": tensor for name, tensor in checkpoint.model.items()}
    for index, parts in checkpoint.adam.items():
        tensors |= {f"adam/{index}/{name}": tensor for name, tensor in parts.items()}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _unpack(tensors: State) -> Checkpoint:
    told: dict[str, Any] = json.loads(bytes(tensors["told"].tolist()))
    adam: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("adam", tensors).items():
        index, _, part = name.partition("/")
        adam.setdefault(int(index), {})[part] = tensor
    return Checkpoint(
        step=told["step"],
        curve=[CurvePoint(step=s, loss=loss, error=error) for s, loss, error in told["curve"]],
        best_step=told["best_step"],
        best=_below("best", tensors),
        model=_below("model", tensors),
        adam=adam,
        noise=tensors["noise"],
    )


def _below(prefix: str, tensors: State) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
