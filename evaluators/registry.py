"""Names of workloads and platforms, and where each is made.

Targets are import paths, so that listing names loads neither torch nor any network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import cast

from dse.errors import SpecError, UnknownNameError
from dse.ports import Platform, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Folders of this installation.

    Attributes:
        home: DSE_HOME; caches go below `home / "cache"`, weights of beacons into `beacons`.
        folders: the user's own data sets by name ("timit"), as far as given.
    """

    home: Path
    folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def beacons(self) -> Path:
        return self.home / "beacons"

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
        module, _, attribute = self.target.partition(":")
        return cast(Callable[..., object], getattr(import_module(module), attribute))


WORKLOADS: dict[str, Entry] = {}
PLATFORMS: dict[str, Entry] = {}


def make_workload(name: str, params: Mapping[str, object], places: Places) -> Workload:
    """Make the workload called `name`; cheap: data and training wait for `prepare`.

    Raises:
        UnknownNameError: no such workload.
        SpecError: parameters it does not take.
    """
    return cast(Workload, _entry("workload", WORKLOADS, name).load()(params, places))


def make_platform(name: str, params: Mapping[str, object]) -> Platform:
    """Make the platform called `name`.

    Raises:
        UnknownNameError: no such platform.
        SpecError: parameters it does not take.
    """
    return cast(Platform, _entry("platform", PLATFORMS, name).load()(params))


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
        name="mohaq-sru",
        target="evaluators.workloads.mohaq_sru:mohaq_sru",
        summary="shape only: the 4-layer SRU of the MOHAQ paper, for costing",
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
)
