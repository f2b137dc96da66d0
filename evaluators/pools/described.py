"""Workloads in the code of others, seen from a process that must not run that code.

A child imports it and describes the workload in plain data; another one prepares it. What the
parent holds is the description.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, TypeVar, cast, final

from pydantic import TypeAdapter, ValidationError

from dse.design import NetworkShape, Value
from dse.errors import DseError, EvaluationError, SpecError
from dse.ports import Progress, silent
from dse.spec import explain
from evaluators.plugins import (
    clashes,
    file_digest,
    installed,
    installed_digest,
    load_file,
    origin,
)
from evaluators.pools.calls import Limits, call
from evaluators.pools.memory import Memory
from evaluators.registry import OWN, WORKLOADS, Places, file_names, make_workload

T = TypeVar("T")

_HERE: Final = __name__
_PREPARED: Final = "evaluators.pools.errands:prepare"
_MEMORY: Final = Memory()
DESCRIBING_S: Final = 60.0
"""Seconds that importing and describing a workload may take, unless all silence is limited to
less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """All that can be told of a workload without running it; attributes as of
    `dse.ports.Workload`.

    Attributes:
        floats: matrix products that stay in float, as "module path: operation".
    """

    name: str
    summary: str
    params: Mapping[str, object]
    shape: NetworkShape
    metrics: tuple[str, ...]
    splits: tuple[str, ...]
    trainable: bool
    needs: str | None
    defaults: Mapping[str, Value]
    floats: tuple[str, ...]


_DESCRIPTION: Final = TypeAdapter(Description)
_NAMES: Final = TypeAdapter(tuple[str, ...])


@final
class Described:
    """A workload that runs in children alone; fulfils `dse.ports.Workload`.

    It is prepared like an `evaluators.network.Network` and has a digest then, but gives neither
    model nor data: `call` has others work with them.
    """

    def __init__(self, description: Description, *, places: Places, limits: Limits) -> None:
        """Take a description.

        Args:
            places: with the one plug-in file that the workload is in, or none.
        """
        self._description = description
        self._limits = limits
        self._digest: str | None = None
        self.places = places

    @property
    def name(self) -> str:
        return self._description.name

    @property
    def summary(self) -> str:
        return self._description.summary

    @property
    def params(self) -> Mapping[str, object]:
        return self._description.params

    @property
    def shape(self) -> NetworkShape:
        return self._description.shape

    @property
    def metrics(self) -> tuple[str, ...]:
        return self._description.metrics

    @property
    def splits(self) -> tuple[str, ...]:
        return self._description.splits

    @property
    def trainable(self) -> bool:
        return self._description.trainable

    @property
    def needs(self) -> str | None:
        return self._description.needs

    @property
    def defaults(self) -> Mapping[str, Value]:
        return self._description.defaults

    @property
    def floats(self) -> tuple[str, ...]:
        return self._description.floats

    @property
    def limits(self) -> Limits:
        return self._limits

    def within(self, memory_mib: float | None) -> "Described":
        """Return it with another limit of memory; None leaves the limit as it is."""
        if memory_mib is None:
            return self
        limits = replace(self._limits, memory_mib=memory_mib)
        return Described(self._description, places=self.places, limits=limits)

    @property
    def digest(self) -> str:
        if self._digest is None:
            raise EvaluationError(f"workload {self.name!r} must be prepared before it is used")
        return self._digest

    def prepare(self, progress: Progress) -> None:
        """Have a child make the data and train, or find both in the cache. Safe to repeat.

        Raises:
            DseError: as `evaluators.pools.calls.call` says, naming the workload.
        """
        if self._digest is None:
            self._digest = cast(str, self.call(_PREPARED, progress=progress))

    def call(self, target: str, *arguments: object, progress: Progress) -> object:
        """Have a child call `target(name, params, places, *arguments, progress)`.

        Args:
            target: "package.module:function".
            arguments: plain data, as is what the function returns.

        Raises:
            DseError: as `evaluators.pools.calls.call` says, naming the workload.
        """
        given = (self.name, dict(self.params), self.places, *arguments)
        return _naming(self.name, target, given, self._limits, progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A workload that an entry point or a plug-in file names.

    Attributes:
        name: of the workload, or the path of a file that cannot even tell names.
        workload: with default parameters; None: it cannot be described, for the `reason`.
    """

    name: str
    summary: str = ""
    workload: Described | None = None
    reason: str | None = None


@final
class Plugins:
    """The workloads in the code of others that this installation names; runs none of it here."""

    def __init__(self, places: Places, limits: Limits, *, named: Sequence[Path] = ()) -> None:
        """Take the plug-ins of an installation.

        Args:
            named: those of `places.plugins` that the command's user has named.
        """
        self._places = places
        self._limits = limits
        self._named = named

    def check_free(self, name: str) -> None:
        """Refuse files that the command's user has named if they register `name` too, which is
        another workload's.

        Raises:
            SpecError: one does.
            DseError: one cannot be loaded.
        """
        for path in self._named:
            if name in self._names_in(path):
                raise SpecError(_taken(path, name))

    def find(self, name: str, params: Mapping[str, object]) -> Described | None:
        """Return the workload called `name`; None: no plug-in has it.

        Raises:
            SpecError: several have it, a workload added as a file has that name too, or it does
                not take these parameters.
            EvaluationError: its code raises, hangs, dies or returns no workload.
        """
        if name in (refused := self._clashes()):
            raise SpecError(refused[name])
        files = [path for path, names in self._files().items() if name in names]
        entry = installed().get(name)
        origins = [*map(str, files), *([] if entry is None else [origin(entry)])]
        if len(origins) > 1:
            raise SpecError(f"workload {name!r} is offered more than once: by {origins}")
        if entry is not None:
            return self._described(name, params, installed_digest(entry), None)
        for path in files:
            return self._described(name, params, file_digest(path), path)
        return None

    def names(self) -> dict[str, str | None]:
        """Return every name that is offered, and the paths of files that cannot tell theirs: name
        or path -> why it cannot be used, if that is known without describing it."""
        told: dict[str, str | None] = dict.fromkeys(installed())
        told |= self._clashes()
        added = file_names(self._places)
        for path in self._places.plugins:
            try:
                names = self._names_in(path)
            except DseError as error:
                told[str(path)] = str(error)
                continue
            for name in names:
                told[name] = _taken(path, name) if name in added else told.get(name)
        return told

    def offers(self) -> list[Offer]:
        """Describe everything that is offered; what cannot be described says why."""
        found = []
        for name, reason in self.names().items():
            if reason is not None:
                found.append(Offer(name=name, reason=reason))
                continue
            try:
                made = self.find(name, {})
            except DseError as error:
                found.append(Offer(name=name, reason=str(error)))
                continue
            if made is not None:
                found.append(Offer(name=name, summary=made.summary, workload=made))
        return found

    def _files(self) -> dict[Path, tuple[str, ...]]:
        found = {}
        for path in self._places.plugins:
            try:
                found[path] = self._names_in(path)
            except DseError:
                continue  # the others go on working; `names` tells of it
        return found

    def _clashes(self) -> dict[str, str]:
        added = file_names(self._places)
        told = {
            name: f"workload {name!r} of {origin(entry)} has the name of one added as a file"
            for name, entry in installed().items()
            if name in added
        }
        return told | clashes()

    def _names_in(self, path: Path) -> tuple[str, ...]:
        def ask() -> tuple[str, ...]:
            try:
                told = call(f"{_HERE}:names_in", (path,), limits=self._describing, progress=silent)
            except DseError as error:
                raise type(error)(f"plug-in {path} cannot be loaded: {error}") from error
            return _parsed(f"plug-in {path}", _NAMES, told)

        return _MEMORY.ask(_key("names", str(path), file_digest(path)), ask)

    def _described(
        self, name: str, params: Mapping[str, object], digest: str, path: Path | None
    ) -> Described:
        places = replace(self._places, plugins=() if path is None else (path,))

        def ask() -> Description:
            given = (name, dict(params), places)
            told = _naming(name, f"{_HERE}:describe", given, self._describing, silent)
            return _parsed(f"workload {name!r}", _DESCRIPTION, told)

        key = _key("describe", name, digest, dict(params), str(places.home), _folders(places))
        return Described(_MEMORY.ask(key, ask), places=places, limits=self._limits)

    @property
    def _describing(self) -> Limits:
        return replace(self._limits, silence_s=min(DESCRIBING_S, self._limits.silence_s))


def names_in(path: Path, progress: Progress) -> str:
    """Return the workloads that a plug-in file registers, as JSON. Runs it."""
    return json.dumps(list(load_file(path)))


def describe(name: str, params: Mapping[str, object], places: Places, progress: Progress) -> str:
    """Make a workload and return its description as JSON. Runs its code.

    Raises:
        SpecError: it tells of itself what is no JSON data.
    """
    made = make_workload(name, params, places)
    description = Description(
        name=name,
        summary=OWN[name].summary if name in OWN else "",
        params=dict(made.params),
        shape=made.shape,
        metrics=tuple(made.metrics),
        splits=tuple(made.splits),
        trainable=made.trainable,
        needs=made.needs,
        defaults=dict(made.defaults),
        floats=tuple(getattr(made, "floats", ())),  # a Network of one's own may not tell
    )
    try:
        return json.dumps(asdict(description), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SpecError(f"its description must be plain JSON data: {error}") from error


def _parsed(whose: str, kind: TypeAdapter[T], told: object) -> T:
    # text alone crosses: to unpickle an object of a class of theirs imports their code
    try:
        return kind.validate_json(cast(str, told), strict=True)
    except ValidationError as error:
        raise EvaluationError(f"{whose} cannot be described:\n{explain(error)}") from error


def _taken(path: Path, name: str) -> str:
    kind = "comes with beacon-dse" if name in WORKLOADS else "was added as a file already"
    return f"plug-in {path}: workload {name!r} {kind}: give yours another name"


def _naming(
    name: str,
    target: str,
    arguments: tuple[object, ...],
    limits: Limits,
    progress: Progress,
) -> object:
    try:
        return call(target, arguments, limits=limits, progress=progress)
    except DseError as error:
        raise type(error)(f"workload {name!r}: {error}") from error


def _folders(places: Places) -> dict[str, str]:
    return {name: str(folder) for name, folder in places.folders.items()}


def _key(*told: object) -> str:
    return json.dumps(told, sort_keys=True)
