"""The files of a workload as a network, and whether they are one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from dse.errors import EvaluationError, SpecError, UnknownNameError
from dse.ports import Progress
from evaluators.data.arrays import Array, read_arrays
from evaluators.data.cache import Cache
from evaluators.evaluation import finite_metrics
from evaluators.models.archive import read_archive
from evaluators.models.exported import ExportedNetwork
from evaluators.models.products import find_products
from evaluators.models.program import Program, read_program
from evaluators.models.training import one_thread
from evaluators.registry import Places
from evaluators.workloads.definition import Definition
from evaluators.workloads.files import MODEL, Examined
from evaluators.workloads.metrics import METRICS
from evaluators.workloads.own import OwnNetwork

BATCH: Final = 64
"""Samples of one forward call."""

CLASSES: Final = ("top1-error", "top5-error")
"""Metrics whose labels are classes."""

_ABSOLUTE: Final = 1e-6
_RELATIVE: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a workload's files hold.

    Attributes:
        data: split -> x, and y where labels are needed.
    """

    program: Program
    data: Mapping[str, Mapping[str, Tensor]]


def read_files(
    folder: Path, metric: str, splits: Sequence[str], told: Mapping[str, str] | None = None
) -> Files:
    """Read the program, and `<split>.npz` of each split.

    Args:
        told: what the files are called in messages, by their names in the folder.

    Raises:
        SpecError: as `read_archive`, `read_program` and `read_arrays`; or arrays do not go with
            program or metric.
    """
    names = told or {}
    program = read_program(read_archive(folder / MODEL), names.get(MODEL, MODEL))
    data = {}
    for split in splits:
        file = f"{split}.npz"
        keys = ["x"] if split == "calibration" else ["x", "y"]
        arrays = read_arrays(folder / file, keys, told=names.get(file, file))
        name = names.get(file, file)
        data[split] = {"x": _inputs(arrays["x"], program, f"{name}: x")}
        if split != "calibration":
            data[split]["y"] = _labels(arrays["y"], metric, f"{name}: y")
    return Files(program=program, data=data)


def network_of(name: str, files: Files, metric: str, places: Places) -> OwnNetwork:
    """Return files as a network."""
    batches = {split: _batches(arrays) for split, arrays in files.data.items()}
    definition = Definition(
        model=lambda: _fresh(files.program),
        calibration=[batch[0] for batch in batches["calibration"]],
        search=[(x, y) for x, y in batches["search"]],
        test=[(x, y) for x, y in batches["test"]],
        metric=metric,
        train=_epochs(files.data["train"]) if "train" in files.data else None,
    )
    cache = Cache(places.home / "cache")
    return OwnNetwork(name, definition, params={}, cache=cache, source="files")


def examine(
    name: str,
    folder: Path,
    metric: str,
    splits: Sequence[str],
    places: Places,
    told: Mapping[str, str],
    progress: Progress,
) -> Examined:
    """Read a workload's files, run the float network on all data, and tell what it is.

    Raises:
        SpecError, UnknownNameError: as `read_files`; or the network is not what it was when it
            was exported, or mixes the samples of a batch.
        EvaluationError: the network does not run, or yields what is not finite or does not go
            with the metric.
    """
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    files = read_files(folder, metric, splits, told)
    network = network_of(name, files, metric, places)
    with one_thread():
        network.prepare(progress)
        outputs = _check_outputs(network, files.program, told.get(MODEL, MODEL))
        if metric in CLASSES:
            _check_classes(files, outputs.shape[1], told)
        network.rehearse([(x, y) for x, y in _batches(files.data.get("train", {}))])
        errors = {}
        for number, split in enumerate(("search", "test")):
            progress(f"running the float network on {split}", number, 2)
            errors[split] = network.measure(network.model(), split)["error"]
    return Examined(
        shape=network.shape,
        # the pass through the network tells whether there are any, the program tells where
        floats=find_products(files.program).operators if network.floats else (),
        samples={split: len(arrays["x"]) for split, arrays in files.data.items()},
        errors=finite_metrics(errors),
    )


def _inputs(array: Array, program: Program, told: str) -> Tensor:
    wanted = ("batch", *("any" if size is None else size for size in program.sizes))
    fits = len(array.shape) == len(wanted) and all(
        size is None or size == given
        for size, given in zip(program.sizes, array.shape[1:], strict=True)
    )
    if not fits:
        told_shape = ", ".join(map(str, wanted))
        raise SpecError(f"{told} must have shape ({told_shape}) as exported, got {array.shape}")
    kinds = "f" if program.dtype.is_floating_point else "biu"
    if array.dtype.kind not in kinds:
        allowed = "floating point" if kinds == "f" else "integers"
        raise SpecError(
            f"{told} must be {allowed}, as the model takes {program.dtype}, got {array.dtype}"
        )
    return _converted(array, program.dtype, told)


def _labels(array: Array, metric: str, told: str) -> Tensor:
    if metric in CLASSES:
        if array.dtype.kind not in "biu":
            raise SpecError(f"{told} must be classes, integers, for {metric}, got {array.dtype}")
        return _converted(array, torch.int64, told)
    return _converted(array, torch.float32, told)


def _converted(array: Array, dtype: torch.dtype, told: str) -> Tensor:
    """Return an array as a tensor; it loses digits after the point at most."""
    plain: Array = array
    with np.errstate(over="ignore"):
        if dtype.is_floating_point and (array.dtype.kind == "u" or array.dtype.itemsize > 8):
            plain = array.astype(np.float64)
        elif array.dtype.kind == "u":
            plain = array.astype(np.int64)
    tensor = torch.from_numpy(plain).to(dtype)
    kept = (
        bool(tensor.isfinite().all())
        if dtype.is_floating_point
        else np.array_equal(tensor.numpy(), array)
    )
    if not kept:
        raise SpecError(
            f"{told} must hold values that {dtype} can hold, as which they are used, got "
            f"{array.dtype} from {array.min()!s} to {array.max()!s}"
        )
    return tensor


def _fresh(program: Program) -> ExportedNetwork:
    """Return a network with tensors of its own; those that were one are one still."""
    own = replace(program, tensors=deepcopy(dict(program.tensors)))
    return ExportedNetwork(own, find_products(own))


def _batches(arrays: Mapping[str, Tensor]) -> list[tuple[Tensor, ...]]:
    starts = range(0, len(arrays.get("x", ())), BATCH)
    return [tuple(tensor[i : i + BATCH] for tensor in arrays.values()) for i in starts]


def _epochs(
    arrays: Mapping[str, Tensor],
) -> Callable[[np.random.Generator], Iterator[tuple[Tensor, Tensor]]]:
    x, y = arrays["x"], arrays["y"]

    def epoch(random: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.from_numpy(random.permutation(len(x)))
        parts = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        return ((x[part], y[part]) for part in parts)

    return epoch


@torch.no_grad()
def _check_outputs(network: OwnNetwork, program: Program, told: str) -> Tensor:
    """Return what the network makes of the first calibration batch."""
    (x,) = network.calibration()[0]
    exported = ExportedNetwork(replace(program, tensors=deepcopy(dict(program.tensors))))
    before = deepcopy(exported.state_dict())
    wanted, again = _first(exported(x)), _first(exported(x))
    changed = [name for name, t in exported.state_dict().items() if not t.equal(before[name])]
    if changed or not wanted.equal(again):
        raise SpecError(
            f"{told} changes {changed or 'its results'} when it runs; "
            "allowed: a network in evaluation mode: export model.eval()"
        )
    model = network.model()
    found = _first(model(x))
    if not _close(found, wanted):
        raise EvaluationError(
            f"{told}: with its products as layers the network's outputs differ by "
            f"{float((found - wanted).abs().max()):.2g} from the exported ones"
        )
    alone = _first(model(x[:1]))
    if len(found) != len(x) or not _close(alone, found[:1]):
        raise SpecError(
            f"{told}: a sample's output depends on the rest of its batch: outputs have shape "
            f"{tuple(found.shape)} for inputs {tuple(x.shape)}; allowed: one output a sample"
        )
    return found


def _first(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def _close(found: Tensor, wanted: Tensor) -> bool:
    if found.shape != wanted.shape:
        return False
    largest = float(wanted.abs().max()) if wanted.numel() else 0.0
    return torch.allclose(found, wanted, rtol=0.0, atol=_ABSOLUTE + _RELATIVE * largest)


def _check_classes(files: Files, classes: int, told: Mapping[str, str]) -> None:
    for split, arrays in files.data.items():
        labels = arrays.get("y")
        if labels is not None and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            name = told.get(f"{split}.npz", f"{split}.npz")
            raise SpecError(
                f"{name}: y must be classes 0 .. {classes - 1}, as many as the model has outputs, "
                f"got {int(labels.min())} .. {int(labels.max())}"
            )
