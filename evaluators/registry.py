"""Names of workloads and platforms, and where each is made.

Targets are import paths, so that listing names loads neither torch nor any network. Workloads of
others register themselves with the decorator `workload`, when the code they are in is imported.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Final, TypeVar, cast

from dse.errors import SpecError, UnknownNameError
from dse.ports import Platform, Workload

Factory = TypeVar("Factory", bound=Callable[..., object])

_NAME: Final = re.compile("[a-z0-9][a-z0-9._-]{0,99}")
_PLUGIN: Final = "evaluators.plugins:plugin_workload"
_FILE: Final = "evaluators.workloads.files:file_workload"
_FILE_NAMES: Final = "evaluators.workloads.files:file_names"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Folders of this installation.

    Attributes:
        home: DSE_HOME; caches go below `home / "cache"`, weights of beacons into `beacons`.
        folders: the user's own data sets by name ("timit"), as far as given.
        plugins: Python files that register workloads.
    """

    home: Path
    folders: Mapping[str, Path] = field(default_factory=dict)
    plugins: tuple[Path, ...] = ()

    @property
    def beacons(self) -> Path:
        return self.home / "beacons"

    @property
    def workloads(self) -> Path:
        """The folder of the workloads that were added as files."""
        return self.home / "workloads"

    def scratch(self, job_id: str) -> Path:
        """Return the folder of what a job has half done; it goes with the job's end."""
        return self.home / "scratch" / job_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A registered name.

    Attributes:
        target: "package.module:function"; a workload's function takes (params, places), a
            platform's takes (params).
    """

    name: str
    target: str
    summary: str

    def load(self) -> Callable[..., object]:
        return load_target(self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A workload that somebody's code has registered.

    Attributes:
        make: takes nothing, (params) or (params, places).
        params: the parameters it takes, with their defaults.
    """

    name: str
    make: Callable[..., object]
    summary: str
    params: Mapping[str, object]


WORKLOADS: dict[str, Entry] = {}
PLATFORMS: dict[str, Entry] = {}
OWN: dict[str, Own] = {}


def workload(
    name: str, *, summary: str = "", params: Mapping[str, object] | None = None
) -> Callable[[Factory], Factory]:
    """Register the decorated function as the workload called `name`.

    The function takes nothing, (params) or (params, places), and returns an
    `evaluators.workloads.definition.Definition` or whatever else fulfils
    `evaluators.network.Network`. It stays as it is.

    Args:
        summary: one line for lists; left out, the first of the function's docstring.
        params: the parameters that the workload takes, with their defaults: plain JSON data.

    Raises:
        SpecError: a name that is taken or cannot be one, a summary that is no text, or parameters
            that are not plain JSON data.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpecError(
            "a workload's name must be lower-case letters, digits and . _ -, at most 100, "
            f"got {name!r}"
        )
    if name in WORKLOADS:
        raise SpecError(f"workload {name!r} comes with beacon-dse: give yours another name")
    if not isinstance(summary, str):
        raise SpecError(f"summary of workload {name!r} must be a text, got {summary!r:.60}")
    plain = _plain(name, params or {})

    def register(make: Factory) -> Factory:
        if name in OWN:
            raise SpecError(f"workload {name!r} is registered twice")
        told = summary or (make.__doc__ or "").strip().partition("\n")[0]
        OWN[name] = Own(name=name, make=make, summary=told, params=plain)
        return make

    return register


def _plain(name: str, params: Mapping[str, object]) -> dict[str, object]:
    try:
        plain = cast(dict[str, object], json.loads(json.dumps(dict(params), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise SpecError(f"params of workload {name!r} must be JSON data: {error}") from error
    if plain != params:
        raise SpecError(
            f"params of workload {name!r} must be JSON data, lists for tuples and texts for keys, "
            f"got {params!r:.200}"
        )
    return plain


def make_workload(name: str, params: Mapping[str, object], places: Places) -> Workload:
    """Make the workload called `name`; cheap: data and training wait for `prepare`.

    Runs the code of others if the name is neither beacon-dse's nor that of a workload added as a
    file: in a process that may hang or die of it.

    Raises:
        UnknownNameError: no such workload.
        SpecError: parameters it does not take.
    """
    if name not in WORKLOADS and name not in file_names(places):
        found = load_target(_PLUGIN)(name, params, places)
        if found is not None:
            return cast(Workload, found)
    return make_known_workload(name, params, places)


def make_known_workload(name: str, params: Mapping[str, object], places: Places) -> Workload:
    """Make a workload of which no code of others is run: one that comes with beacon-dse, or was
    added as a file.

    Raises:
        UnknownNameError: no such workload.
        SpecError: parameters it does not take.
    """
    if name in WORKLOADS:
        return cast(Workload, WORKLOADS[name].load()(params, places))
    found = load_target(_FILE)(name, places) if name in file_names(places) else None
    if found is None:
        raise UnknownNameError("workload", name, sorted([*WORKLOADS, *file_names(places), *OWN]))
    if params:
        given = ", ".join(map(repr, sorted(params)))
        raise SpecError(f"workload {name!r} takes no parameters, got {given}")
    return cast(Workload, found)


def file_names(places: Places) -> list[str]:
    """Return the names of the workloads that were added as files."""
    if not places.workloads.is_dir():
        return []
    return cast(list[str], load_target(_FILE_NAMES)(places))


def make_platform(name: str, params: Mapping[str, object]) -> Platform:
    """Make the platform called `name`.

    Raises:
        UnknownNameError: no such platform.
        SpecError: parameters it does not take.
    """
    return cast(Platform, _entry("platform", PLATFORMS, name).load()(params))


def load_target(target: str) -> Callable[..., object]:
    """Return what "package.module:function" names."""
    module, _, attribute = target.partition(":")
    return cast(Callable[..., object], getattr(import_module(module), attribute))


def _entry(kind: str, entries: Mapping[str, Entry], name: str) -> Entry:
    if name not in entries:
        raise UnknownNameError(kind, name, sorted(entries))
    return entries[name]


def _register(entries: dict[str, Entry], *new: Entry) -> None:
    for entry in new:
        if entry.name in entries:
            raise SpecError(f"{entry.name!r} is registered twice")
        entries[entry.name] = entry


_register(
    WORKLOADS,
    Entry(
        name="sru-phones",
        target="evaluators.workloads.sru_phones:sru_phones",
        summary="phone recognition of synthetic speech, 4 bidirectional SRU layers",
    ),
    Entry(
        name="sru-digits",
        target="evaluators.workloads.sru_digits:sru_digits",
        summary="connected spoken digits, 4 bidirectional SRU layers, CTC; needs DSE_FSDD",
    ),
    Entry(
        name="minilm-similarity",
        target="evaluators.workloads.minilm_similarity:minilm_similarity",
        summary="likeness of texts, MiniLM-L6 (BERT) with its real weights; needs data packages",
    ),
    Entry(
        name="lenet-digits",
        target="evaluators.workloads.lenet_digits:lenet_digits",
        summary="handwritten digits, LeNet-5",
    ),
    Entry(
        name="mlp-digits",
        target="evaluators.workloads.mlp_digits:mlp_digits",
        summary="handwritten digits, perceptron of 3 layers",
    ),
    Entry(
        name="vit-digits",
        target="evaluators.workloads.vit_digits:vit_digits",
        summary="handwritten digits, small vision transformer",
    ),
    Entry(
        name="segformer-digits",
        target="evaluators.workloads.segformer_digits:segformer_digits",
        summary="segmentation of digits on textures, small SegFormer",
    ),
    Entry(
        name="efficientnet-lite0",
        target="evaluators.workloads.efficientnet_lite0:efficientnet_lite0",
        summary="photos, EfficientNet-Lite0 with its real weights; needs data packages",
    ),
    Entry(
        name="mohaq-sru",
        target="evaluators.workloads.mohaq_sru:mohaq_sru",
        summary="shape only: the 4-layer SRU of the MOHAQ paper, for costing",
    ),
    Entry(
        name="bert-base-128",
        target="evaluators.workloads.shape_only:bert_base_128",
        summary="shape only: BERT-Base on 128 tokens",
    ),
    Entry(
        name="llama2-7b-4096",
        target="evaluators.workloads.shape_only:llama2_7b_4096",
        summary="shape only: LLaMA2-7B on a prompt of 4096 tokens",
    ),
    Entry(
        name="segformer-b0-512",
        target="evaluators.workloads.shape_only:segformer_b0_512",
        summary="shape only: SegFormer-B0, 150 classes, 512 x 512 pixels",
    ),
    Entry(
        name="efficientvit-b1",
        target="evaluators.workloads.shape_only:efficientvit_b1",
        summary="shape only: EfficientViT-B1, 150 classes, 512 x 512 pixels",
    ),
    Entry(
        name="resnet18",
        target="evaluators.workloads.shape_only:resnet18",
        summary="shape only: ResNet-18, 1000 classes, 224 x 224 pixels",
    ),
)
_register(
    PLATFORMS,
    Entry(
        name="silago",
        target="evaluators.hardware.silago:silago",
        summary="reconfigurable 16-bit units, 4/8/16 bits, weights as wide as activations",
    ),
    Entry(
        name="bitfusion",
        target="evaluators.hardware.bitfusion:bitfusion",
        summary="bit-composable multipliers: throughput by weight and activation width",
    ),
    Entry(
        name="psum-accelerator",
        target="evaluators.hardware.psum_accelerator:psum_accelerator",
        summary="partial sums stored between tiles, at chosen widths and groups",
    ),
    Entry(
        name="zigzag",
        target="evaluators.hardware.zigzag:zigzag",
        summary="psum-accelerator as ZigZag counts it: for a few designs; needs the extra zigzag",
    ),
)
