"""Single workloads: described, added as files, removed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from api import bootstrap
from api.documents import Json
from api.settings import Settings
from dse.design import Layer
from dse.errors import DseError, SpecError
from dse.ports import Progress, Workload
from evaluators.pools.calls import call
from evaluators.pools.described import Described, Plugins
from evaluators.registry import WORKLOADS, file_names
from evaluators.workloads.files import Examined, FileWorkload
from evaluators.workloads.shelf import add_files, remove_files

_EXAMINE: Final = "evaluators.workloads.reading:examine"


def workload_item(settings: Settings, name: str) -> Json:
    """Describe a workload with its default parameters: layers, floats, metrics, data.

    Its `digest` and `samples` are known of files alone before it is prepared: else null.

    Raises:
        UnknownNameError, SpecError: no such workload, or one that cannot be described.
    """
    workload = bootstrap.catalogue(settings).workload(name, {})
    own = workload if isinstance(workload, FileWorkload) else None
    shape = workload.shape
    return {
        "name": workload.name,
        "summary": _summary(workload),
        "metrics": list(workload.metrics),
        "splits": list(workload.splits),
        "trainable": workload.trainable,
        "needs": workload.needs,
        "params": dict(workload.params),
        "defaults": dict(workload.defaults),
        "digest": None if own is None else own.digest,
        "samples": None if own is None else dict(own.manifest.samples),
        "macs": shape.macs,
        "weights": shape.weights,
        "vector_parameters": shape.vector_parameters,
        "elementwise_operations": shape.elementwise_operations,
        "floats": list(_floats(workload)),
        "layers": [_layer_item(layer) for layer in shape.layers],
    }


def add_workload(
    settings: Settings,
    name: str,
    given: Mapping[str, Path],
    *,
    metric: str,
    replace: bool,
    progress: Progress,
) -> tuple[FileWorkload, Examined]:
    """Add files as a workload, once a child process has found them good.

    Args:
        given: "model", "calibration", "search", "test", and "train" if there is one -> file.

    Raises:
        SpecError: a name that is taken, or a file that cannot be used.
        EvaluationError: the network does not run within the limits of `settings`.
        CacheError: DSE_HOME cannot be written.
    """
    _check_free(settings, name)
    splits = [part for part in given if part != "model"]

    def examine(folder: Path, told: dict[str, str]) -> Examined:
        arguments = (name, folder, metric, splits, settings.places, told)
        try:
            found = call(_EXAMINE, arguments, limits=settings.limits, progress=progress)
        except DseError as error:
            raise type(error)(f"workload {name!r}: {error}") from error
        return cast(Examined, found)

    return add_files(
        name, given, metric=metric, replace=replace, places=settings.places, examine=examine
    )


def remove_workload(settings: Settings, name: str) -> None:
    """Remove a workload that was added as files.

    Raises:
        UnknownNameError: there is none of that name.
    """
    remove_files(name, settings.places)


def _check_free(settings: Settings, name: str) -> None:
    if name in WORKLOADS:
        raise SpecError(f"workload {name!r} comes with beacon-dse: give yours another name")
    if name in file_names(settings.places):
        return  # the shelf's own affair; a plug-in that has it too is refused already
    if name in Plugins(settings.places, settings.limits).names():
        raise SpecError(f"workload {name!r} is a plug-in's: give yours another name")


def _summary(workload: Workload) -> str:
    if isinstance(workload, FileWorkload | Described):
        return workload.summary
    return WORKLOADS[workload.name].summary


def _floats(workload: Workload) -> tuple[str, ...]:
    return workload.floats if isinstance(workload, FileWorkload | Described) else ()


def _layer_item(layer: Layer) -> Json:
    return {
        "name": layer.name,
        "m": layer.m,
        "k": layer.k,
        "n": layer.n,
        "groups": layer.groups,
        "kernel": layer.kernel,
        "stride": layer.stride,
        "macs": layer.macs,
        "weights": layer.weights,
        "dynamic": layer.dynamic,
        "consumers": list(layer.consumers),
    }
