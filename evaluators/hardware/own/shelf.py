"""Own platforms by name: those added to DSE_HOME, and those that installed packages bring.

An added platform is one JSON file with all that its YAML and bases said, so that nobody's later
edit of those changes it. A package brings YAML files: an entry point in the group
`beacon_dse.platforms` names one, "package:file.yaml", and no code of the package is run.
"""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from filelock import FileLock

from dse.errors import CacheError, DseError, SpecError, UnknownNameError
from evaluators.hardware.own.definition import Definition, definition
from evaluators.hardware.own.files import MOST_BYTES, read_definition
from evaluators.hardware.own.platform import OwnPlatform, own_platform
from evaluators.registry import PLATFORMS, Places

GROUP: Final = "beacon_dse.platforms"
_VERSION: Final = 1
_MOST_STORED_BYTES: Final = 20 * MOST_BYTES
_PARAMS: Final = ("digest",)


def names(places: Places) -> list[str]:
    """Return the names of all own platforms, usable or not."""
    return sorted({*added_names(places), *_installed()})


def added_names(places: Places) -> list[str]:
    """Return the names of the platforms that were added as files."""
    return sorted(path.stem for path in places.platforms.glob("[!.]*.json"))


def find(name: str, params: Mapping[str, object], places: Places) -> OwnPlatform:
    """Return the own platform called `name`.

    Args:
        params: `digest`: of the definition that it must have; left out: whatever it is.

    Raises:
        UnknownNameError: there is none.
        SpecError: it is damaged, offered twice, another definition than that of `digest`, or
            other parameters are given.
    """
    unknown = sorted(set(params) - set(_PARAMS))
    if unknown:
        raise SpecError(
            f"platform {name!r} takes the parameter digest only, which says which definition it "
            f"must be; got {', '.join(unknown)}"
        )
    platform = own_platform(find_definition(name, places))
    digest, found = params.get("digest"), platform.definition.digest
    if digest is not None and digest != found:
        raise SpecError(
            f"platform {name!r} has another definition here: its digest is {found}, asked for is "
            f"{digest!r:.80}; allowed: add that definition again, or leave digest out"
        )
    return platform


def find_definition(name: str, places: Places) -> Definition:
    """Return the definition of an own platform; errors as `find`."""
    entries = _installed().get(name, [])
    offering = [_origin(entry) for entry in entries]
    offering += ["DSE_HOME"] if name in added_names(places) else []
    if not offering:
        raise UnknownNameError("platform", name, sorted([*PLATFORMS, *names(places)]))
    if len(offering) > 1:
        told = ", ".join(offering)
        raise SpecError(f"platform {name!r} is offered more than once: by {told}")
    return _from_package(name, entries[0]) if entries else _stored(name, places)


def add(path: Path, *, replace: bool, places: Places) -> OwnPlatform:
    """Check a platform file and keep what it says under its name.

    Raises:
        SpecError: the file is no platform, or its name is taken.
        CacheError: DSE_HOME cannot be written.
    """
    given = read_definition(path)
    platform = own_platform(given)
    if given.name in PLATFORMS:
        raise SpecError(f"platform {given.name!r} comes with beacon-dse: give yours another name")
    if entries := _installed().get(given.name):
        raise SpecError(
            f"platform {given.name!r} is one of {_origin(entries[0])}: give yours another name"
        )
    with _alone(places.platforms):
        if given.name in added_names(places) and not replace:
            raise SpecError(
                f"platform {given.name!r} exists; allowed: another name in {path}, or --replace"
            )
        _write(places.platforms / f"{given.name}.json", _document(given))
    return platform


def remove(name: str, places: Places) -> None:
    """Take an added platform away.

    Raises:
        UnknownNameError: none was added under that name.
        CacheError: DSE_HOME cannot be written.
    """
    with _alone(places.platforms):
        added = added_names(places)
        if name not in added:
            raise UnknownNameError("platform that was added as a file", name, added)
        (places.platforms / f"{name}.json").unlink()


def _document(given: Definition) -> bytes:
    told = {
        "version": _VERSION,
        "digest": given.digest,
        "definition": given.model_dump(mode="json", exclude_none=True),
    }
    return json.dumps(told, indent=1).encode()


def _stored(name: str, places: Places) -> Definition:
    path = places.platforms / f"{name}.json"
    again = f"add platform {name!r} again with --replace"
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_MOST_STORED_BYTES))
        if told["version"] != _VERSION:
            raise SpecError(f"{path} is of another version: {again}")
        found = definition(told["definition"], origin=str(path))
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise SpecError(f"{error}; {again}") from error
        raise SpecError(f"{path} is damaged: {again}") from error
    if (found.digest, found.name) != (told.get("digest"), name):
        raise SpecError(f"{path} was altered: {again}")
    return found


def _installed() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        if entry.name not in PLATFORMS:
            found.setdefault(entry.name, []).append(entry)
    return found


def _origin(entry: EntryPoint) -> str:
    return (
        "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    )


def _from_package(name: str, entry: EntryPoint) -> Definition:
    try:
        found = read_definition(_file_of(entry))
        if found.name != name:
            raise SpecError(f"its file says name: {found.name}; both must be the same")
    except DseError as error:
        raise SpecError(f"platform {name!r} of {_origin(entry)}: {error}") from error
    return found


def _file_of(entry: EntryPoint) -> Path:
    package, _, file = entry.value.replace(" ", "").partition(":")
    top, *inner = package.split(".")
    if not file.endswith(".yaml"):
        raise SpecError(
            f"entry point must name a YAML file, 'package:file.yaml', got {entry.value!r}"
        )
    # the top package alone: finding a module inside of it would run the package's code
    spec: ModuleSpec | None = find_spec(top)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    if not folders:
        raise SpecError(f"entry point {entry.value!r} names no package that is installed")
    return Path(folders[0], *inner, file)


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            yield
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    except DseError:
        raise
    except OSError as error:
        raise CacheError(f"cannot write below {folder}: {error.strerror}") from error
