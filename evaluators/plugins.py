"""Workloads in the code of others: Python files, and entry points of installed distributions.

Names of entry points are known without running anything; all else runs that code, and belongs
into a process of its own (`evaluators.pools.described`).
"""

import hashlib
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from typing import Final, cast

from dse.errors import SpecError
from dse.ports import Workload
from evaluators.arguments import call_with
from evaluators.registry import OWN, WORKLOADS, Own, Places, load_target, workload

GROUP: Final = "beacon_dse.workloads"
"""Entry points: workload's name -> "package.module:function"."""

_REGISTERED: Final = "__beacon_dse_workloads__"
_NETWORK: Final = "evaluators.workloads.own:network_from"


def installed() -> dict[str, EntryPoint]:
    """Return the entry points by name, but for those whose name comes with beacon-dse.

    Of two distributions that offer one name, none is there: `clashes` names them.
    """
    return {name: found[0] for name, found in _offers().items() if len(found) == 1}


def clashes() -> dict[str, str]:
    """Return the names of entry points that cannot be used, and why."""
    told = {}
    for name, found in _offers().items():
        if len(found) > 1:
            offering = ", ".join(sorted(origin(entry) for entry in found))
            told[name] = f"workload {name!r} is offered more than once: by {offering}"
    for entry in entry_points(group=GROUP):
        if entry.name in WORKLOADS:
            told[entry.name] = (
                f"workload {entry.name!r} of {origin(entry)} has the name of one that comes with "
                "beacon-dse"
            )
    return told


def origin(entry: EntryPoint) -> str:
    """Return the distribution of an entry point, with its version."""
    return (
        "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a plug-in file.

    Raises:
        SpecError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SpecError(f"cannot read plug-in {path}: {error.strerror}") from error


def installed_digest(entry: EntryPoint) -> str:
    """Return a SHA-256 (hex) over an entry point's distribution, version and all Python files of
    its top package, also of one installed as editable. Runs nothing."""
    told = hashlib.sha256(f"{origin(entry)}\n{entry.value}\n".encode())
    package = find_spec(entry.module.partition(".")[0])
    for path in [] if package is None else _sources(package):
        told.update(f"{path.name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return told.hexdigest()


def load_file(path: Path) -> dict[str, Own]:
    """Run a plug-in file, once a process, and return the workloads that it registers.

    Raises:
        SpecError: it cannot be read, or registers nothing or a name that is taken.
    """
    name = f"beacon_dse_plugin_{file_digest(path)}"
    if name not in sys.modules:
        loader = SourceFileLoader(name, str(path))
        module = module_from_spec(cast(ModuleSpec, spec_from_loader(name, loader)))
        sys.modules[name] = module  # dataclasses and pickle look their module up
        before = set(OWN)
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        vars(module)[_REGISTERED] = [own for own in OWN if own not in before]
    found = {own: OWN[own] for own in vars(sys.modules[name])[_REGISTERED]}
    if not found:
        raise SpecError(f"plug-in {path} registers no workload; see evaluators.registry.workload")
    return found


def load_installed(entry: EntryPoint) -> Own:
    """Import an entry point's function, registering it if it has not done so itself.

    Raises:
        SpecError: it has registered itself under another name, or the name is taken.
    """
    function = entry.load()
    for own in OWN.values():
        if own.make is function:
            if own.name != entry.name:
                raise SpecError(
                    f"entry point {entry.name!r} of {origin(entry)} leads to workload "
                    f"{own.name!r}: both names must be the same"
                )
            return own
    workload(entry.name)(function)
    return OWN[entry.name]


def plugin_workload(name: str, params: Mapping[str, object], places: Places) -> Workload | None:
    """Make the workload that an entry point or a plug-in file calls `name`; None: none does.

    Raises:
        SpecError: parameters it does not take, or it returns no workload.
        Exception: whatever that code raises.
    """
    entry = installed().get(name)
    if entry is not None:
        return _made(load_installed(entry), params, places, installed_digest(entry))
    for path in places.plugins:
        found = load_file(path)
        if name in found:
            return _made(found[name], params, places, file_digest(path))
    return None


def complete_params(own: Own, params: Mapping[str, object]) -> dict[str, object]:
    """Return a workload's parameters, those left out at their defaults.

    Raises:
        SpecError: one that it does not take, or of another type than its default.
    """
    for name, given in params.items():
        if name not in own.params:
            allowed = ", ".join(own.params) or "none"
            raise SpecError(f"{own.name} takes no parameter {name!r}; allowed: {allowed}")
        kind = type(own.params[name])
        if type(given) is not kind and not (kind is float and type(given) is int):
            raise SpecError(
                f"{own.name}: {name} must be of type {kind.__name__}, as its default "
                f"{own.params[name]!r}, got {given!r}"
            )
    return {**own.params, **params}


def _made(own: Own, params: Mapping[str, object], places: Places, source: str) -> Workload:
    complete = complete_params(own, params)
    returned = call_with(own.make, {"params": complete, "places": places})
    make = load_target(_NETWORK)
    return cast(
        Workload, make(returned, name=own.name, params=complete, places=places, source=source)
    )


def _offers() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        if entry.name not in WORKLOADS:
            found.setdefault(entry.name, []).append(entry)
    return found


def _sources(package: ModuleSpec) -> list[Path]:
    if package.submodule_search_locations is not None:
        folders = [Path(folder) for folder in package.submodule_search_locations]
        return sorted(path for folder in folders for path in folder.rglob("*.py"))
    return [Path(package.origin)] if package.origin and Path(package.origin).is_file() else []
