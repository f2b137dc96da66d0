"""What is done with a workload outside a search, in this process or in a child's.

Each function makes the workload by name, so that `evaluators.pools.described.Described.call`
can have a child do it.
"""

from collections.abc import Mapping
from typing import cast

from safetensors.torch import load, save

from dse.errors import EvaluationError
from dse.ports import Progress
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data.cache import Cache
from evaluators.data.vault import Vault
from evaluators.export import Export, Files, Provenance, measure_export, write_export
from evaluators.manifest import dump_manifest, load_manifest
from evaluators.network import Network
from evaluators.quantizers.requests import read_schemes
from evaluators.registry import Places, make_workload

Packed = tuple[bytes, bytes]
"""An export's manifest and tensors."""


def prepare(name: str, params: Mapping[str, object], places: Places, progress: Progress) -> str:
    """Prepare a workload's network and return its digest."""
    return _prepared(name, params, places, progress).digest


def measure(
    name: str,
    params: Mapping[str, object],
    places: Places,
    request: Request,
    progress: Progress,
) -> dict[str, float]:
    """Measure a design on base weights; errors as of `AccuracyEvaluator.evaluate`."""
    network = _prepared(name, params, places, progress)
    return AccuracyEvaluator(network, cache=_cache(places)).evaluate(request)


def write(
    name: str,
    params: Mapping[str, object],
    places: Places,
    rules: Mapping[str, Mapping[str, int | str]],
    source: Provenance,
    progress: Progress,
) -> Files:
    """Return the files of a design, `source.design`.

    Args:
        rules: layer -> what the platforms said of its arithmetic.

    Raises:
        EvaluationError: the network is another than `source.network`.
        WeightsError: the beacon weights are missing or altered.
    """
    return write_from(_prepared(name, params, places, progress), places, rules, source)


def write_from(
    network: Network,
    places: Places,
    rules: Mapping[str, Mapping[str, int | str]],
    source: Provenance,
) -> Files:
    """Return the files of `source.design` on a prepared network; errors as of `write`."""
    if network.digest != source.network:
        raise EvaluationError(
            f"the network is another than before (digest {source.network}, then "
            f"{network.digest}): it was replaced or edited meanwhile, or depends on chance"
        )
    evaluator = AccuracyEvaluator(network, Vault(places.beacons), _cache(places))
    model = evaluator.quantized(source.beacon)
    model.set(read_schemes(source.design.choices, rules, network.shape.names))
    return write_export(model, source)


def pack(export: Export) -> Packed:
    """Return an export as bytes: tensors would cross processes in shared memory."""
    return dump_manifest(export.manifest), save(dict(export.tensors))


def measure_packed(
    name: str,
    params: Mapping[str, object],
    places: Places,
    packed: Packed,
    split: str,
    progress: Progress,
) -> tuple[dict[str, float], str]:
    """Run an exported design and return its metrics and the network's digest; errors as of
    `evaluators.export.measure_export`."""
    manifest, tensors = packed
    export = Export(manifest=load_manifest(manifest), tensors=load(tensors))
    network = _prepared(name, params, places, progress)
    return measure_export(export, network, split), network.digest


def _prepared(
    name: str, params: Mapping[str, object], places: Places, progress: Progress
) -> Network:
    network = cast(Network, make_workload(name, params, places))
    network.prepare(progress)
    return network


def _cache(places: Places) -> Cache:
    return Cache(places.home / "cache")
