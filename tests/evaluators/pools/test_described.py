"""Plug-ins, each seen through children of its own. Those load torch."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dse.design import NetworkShape
from dse.errors import DseError, EvaluationError, SpecError
from dse.ports import silent
from dse.tasks import Request
from evaluators.evaluation import finite_metrics
from evaluators.pools import described
from evaluators.pools.calls import Limits
from evaluators.pools.described import Described, Plugins
from evaluators.pools.memory import Memory
from evaluators.registry import OWN, Places
from tests.evaluators.plugin_files import BAD, GOOD, TUNABLE, workload_named, write_plugin

_LIMITS = Limits(silence_s=60, memory_mib=600)

_NAN = "lambda: nn.Sequential(nn.Linear(6, 3), type('Sick', (nn.Module,), "
_NAN += "{'forward': lambda self, x: x / 0})())"
_WRONG = {
    "model-raises": ({"model": "lambda: 1 / 0"}, "ZeroDivisionError"),
    "no-layers": ({"model": "nn.ReLU"}, "at least one nn.Linear"),
    "wrong-shapes": ({"calibration": "[INPUTS[:, :5]]"}, "6"),
    "wrong-part": ({"search": "[]"}, "search must be a sequence"),
    "wrong-metric": ({"metric": "'accuracy'"}, "unknown metric 'accuracy'"),
}
_UNFIT = {
    "nan": ({"model": _NAN}, "search batch 0: layer '1' returns what is not"),
    "labels": ({"search": "[(INPUTS, LABELS + 7)]"}, "targets must be classes"),
    "fit-raises": ({"fit": "lambda model: 1 / 0"}, "ZeroDivisionError"),
    "fit-dies": ({"fit": "lambda model: os._exit(3)"}, "its process ended with status 3"),
}
_SICK = {
    "folder": ("params = {'folder': FOLDER}", "must be plain JSON data: .*PosixPath"),
    "rate": ("params = {'rate': float('nan')}", "must be plain JSON data"),
    "metrics": (
        "metrics = (5,)",
        "workload 'metrics' cannot be described:\n  metrics.0: .*string, got 5",
    ),
}


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "_MEMORY", Memory())


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Memory]:
    """A file of a workload for each fault, and what is known of it: its names are asked once."""
    faults = {**_WRONG, **_UNFIT}
    code = [workload_named(name, **changed) for name, (changed, _) in faults.items()]
    code += [_sick(name, changed) for name, (changed, _) in _SICK.items()]
    own = "import os\nfrom evaluators.workloads.own import OwnNetwork\n"
    path = tmp_path_factory.mktemp("faulty") / "my.py"
    return write_plugin(path, GOOD, own, *code), Memory()


def _sick(name: str, changed: str) -> str:
    """Return code that registers a network that tells something odd of itself."""
    code = f"@workload({name!r})\ndef sick(params, places):\n"
    code += f"    made = OwnNetwork({name!r}, definition(), params={{}}, cache=None, source='')\n"
    return code + f"    made.{changed}\n    return made\n"


@pytest.fixture
def faults(faulty: tuple[Path, Memory], monkeypatch: pytest.MonkeyPatch) -> Plugins:
    path, memory = faulty
    monkeypatch.setattr(described, "_MEMORY", memory)
    return _plugins(path.parent, path)


def _plugins(home: Path, *files: Path, limits: Limits = _LIMITS) -> Plugins:
    return Plugins(Places(home=home, plugins=files), limits)


def _found(plugins: Plugins, name: str, **params: object) -> Described:
    found = plugins.find(name, params)
    assert found is not None
    return found


@pytest.mark.slow
def test_workload_is_described_prepared_and_measured_by_children(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plugins = _plugins(tmp_path, write_plugin(tmp_path / "my.py", GOOD, TUNABLE))
    workload = _found(plugins, "tunable", hidden=5)

    assert not set(OWN) & {"good", "tunable"}
    assert workload.params == {"hidden": 5, "rate": 0.5}
    assert workload.shape.names == ("0", "2")
    assert (workload.metrics, workload.splits) == (("error",), ("search", "test"))
    assert workload.trainable
    assert workload.defaults == {"w_bits": 8}
    with pytest.raises(EvaluationError, match="'tunable' must be prepared"):
        _ = workload.digest

    told: list[str] = []
    workload.prepare(lambda label, done, total: told.append(label))
    again = _found(plugins, "tunable", hidden=5)
    again.prepare(silent)
    request = Request(key="", choices=None, arithmetic={}, split="test", timeout_s=60)
    found = workload.call("evaluators.pools.errands:measure", request, progress=silent)

    assert "training" in told or "fitting" in told
    assert (tmp_path / "fitted").read_text() == "once\n"
    assert again.digest == workload.digest
    assert isinstance(found, dict)
    assert 0 <= finite_metrics(found)["error"] < 50
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "a word on standard output" in captured.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("raises", "ValueError: eaten by the dog"),
        ("dies", "its process was killed by SIGKILL"),
        ("exits", "its process ended with status 3"),
        ("hangs", "told of no progress for 4 s"),
        ("leaks", "MiB of memory, allowed are 600"),
    ],
)
def test_bad_file_is_named_and_the_others_go_on(
    order: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if order == "hangs":
        monkeypatch.setattr(described, "DESCRIBING_S", 4.0)
    bad = write_plugin(tmp_path / "bad.py", BAD[order])
    bare = "from evaluators.registry import workload\n\n\n@workload('fine')\ndef fine(): ...\n"
    fine = write_plugin(tmp_path / "fine.py", bare)
    plugins = _plugins(tmp_path, bad, fine)

    names = plugins.names()

    assert names["fine"] is None
    assert str(names[str(bad)]).startswith(f"plug-in {bad} cannot be loaded: ")
    assert message in str(names[str(bad)])


@pytest.mark.slow
def test_bad_workload_is_listed_beside_a_good_one(tmp_path: Path) -> None:
    files = [
        write_plugin(tmp_path / "raises.py", BAD["raises"]),
        write_plugin(tmp_path / "good.py", GOOD),
        write_plugin(tmp_path / "part.py", GOOD.replace('"good"', '"bad"'), "INPUTS = 1 / 0"),
    ]

    offers = {offer.name: offer for offer in _plugins(tmp_path, *files).offers()}

    assert set(offers) == {str(files[0]), "good", str(files[2])}
    assert offers["good"].workload is not None
    assert offers["good"].summary == "Works as it should."
    assert "eaten by the dog" in str(offers[str(files[0])].reason)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_WRONG))
def test_what_cannot_be_described_names_the_workload(name: str, faults: Plugins) -> None:
    with pytest.raises(DseError, match=f"workload '{name}': .*{_WRONG[name][1]}"):
        faults.find(name, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_UNFIT))
def test_what_cannot_be_prepared_names_the_workload(name: str, faults: Plugins) -> None:
    found = _found(faults, name)

    with pytest.raises(EvaluationError, match=f"workload '{name}': .*{_UNFIT[name][1]}"):
        found.prepare(silent)


@pytest.mark.slow
def test_fit_that_hangs_or_leaks_is_ended(tmp_path: Path) -> None:
    code = "import time\n" + workload_named("bad", fit="lambda model: time.sleep(600)")
    leak = "bytearray(b'x') * (700 * 2**20)"
    leaky = code.replace("time.sleep(600)", f"({leak}, time.sleep(600))")
    leaky = leaky.replace("'bad'", "'leaky'")
    path = write_plugin(tmp_path / "my.py", GOOD, code, leaky)

    with pytest.raises(EvaluationError, match="workload 'leaky': .*allowed are 600"):
        _found(_plugins(tmp_path, path), "leaky").prepare(silent)
    brief = Limits(silence_s=10, memory_mib=600)
    with pytest.raises(EvaluationError, match="workload 'bad': .*no progress for 10 s"):
        _found(_plugins(tmp_path, path, limits=brief), "bad").prepare(silent)


_BARE = "from evaluators.registry import workload\n\n\n@workload('{0}')\ndef made(): ...\n"


def test_only_the_name_that_a_file_shares_with_an_added_workload_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = _BARE.format("added") + _BARE.format("other")
    path = write_plugin(tmp_path / "my.py", both)
    monkeypatch.setattr(described, "file_names", lambda places: ["added"])

    names = _plugins(tmp_path, path).names()

    assert names["other"] is None
    assert f"plug-in {path}: workload 'added' was added as a file already" in str(names["added"])


def test_name_that_a_named_file_shares_with_a_known_workload_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = write_plugin(tmp_path / "added.py", _BARE.format("added"))
    own = write_plugin(tmp_path / "own.py", _BARE.format("mohaq-sru"))
    places = Places(home=tmp_path, plugins=(added, own))
    listed, named = Plugins(places, _LIMITS), Plugins(places, _LIMITS, named=places.plugins)

    listed.check_free("added")
    with pytest.raises(SpecError, match="workload 'added' was added as a file already: give"):
        named.check_free("added")
    with pytest.raises(SpecError, match=r"own.py cannot be loaded: .*'mohaq-sru' comes with"):
        named.check_free("mohaq-sru")


def test_entry_point_with_the_name_of_an_added_workload_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("added", "not_there:f", "beacon_dse.workloads")
    monkeypatch.setattr(described, "file_names", lambda places: ["added"])
    monkeypatch.setattr(described, "installed", lambda: {"added": entry})

    assert "has the name of one added as a file" in str(_plugins(tmp_path).names()["added"])
    with pytest.raises(SpecError, match="has the name of one added as a file"):
        _plugins(tmp_path).find("added", {})


@pytest.mark.slow
def test_enums_of_a_plugin_come_as_plain_values(tmp_path: Path) -> None:
    code = "from enum import IntEnum\nBits = IntEnum('Bits', {'EIGHT': 8})\n"
    code += workload_named("enums", defaults="{'w_bits': Bits.EIGHT, 'a_bits': 4.0}")
    plugins = _plugins(tmp_path, write_plugin(tmp_path / "my.py", GOOD, code))

    found = _found(plugins, "enums").defaults

    assert found == {"w_bits": 8, "a_bits": 4}
    assert {type(value) for value in found.values()} == {int}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_SICK))
def test_network_that_tells_no_plain_data_of_itself_is_refused(name: str, faults: Plugins) -> None:
    with pytest.raises(DseError, match=_SICK[name][1]):
        faults.find(name, {})


def test_name_of_two_files_is_refused(tmp_path: Path) -> None:
    code = "from evaluators.registry import workload\n\n\n@workload('same')\ndef same(): ...\n"
    files = [write_plugin(tmp_path / name, code, f"# {name}") for name in ("a.py", "b.py")]

    with pytest.raises(SpecError, match=r"'same' is offered more than once: by .*a.py.*b.py"):
        _plugins(tmp_path, *files).find("same", {})


def test_name_that_no_plugin_has_is_nobodys(tmp_path: Path) -> None:
    code = "from evaluators.registry import workload\n\n\n@workload('one')\ndef one(): ...\n"
    plugins = _plugins(tmp_path, write_plugin(tmp_path / "my.py", code))

    assert plugins.find("other", {}) is None
    assert plugins.names() == {"one": None}


def test_other_memory_is_another_limit_of_the_same_workload(tmp_path: Path) -> None:
    made = Described(
        described.Description(
            name="x",
            summary="",
            params={},
            shape=NetworkShape(layers=()),
            metrics=("error",),
            splits=("search",),
            trainable=False,
            needs=None,
            defaults={},
            floats=(),
        ),
        places=Places(home=tmp_path),
        limits=_LIMITS,
    )

    assert made.within(None) is made
    assert made.within(5000).limits == Limits(silence_s=60, memory_mib=5000)
