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
    "model-raises": (workload_named("bad", model="lambda: 1 / 0"), "ZeroDivisionError"),
    "no-layers": (workload_named("bad", model="nn.ReLU"), "at least one nn.Linear"),
    "wrong-shapes": (workload_named("bad", calibration="[INPUTS[:, :5]]"), "6"),
    "wrong-part": (workload_named("bad", search="[]"), "search must be a sequence"),
    "wrong-metric": (workload_named("bad", metric="'accuracy'"), "unknown metric 'accuracy'"),
}
_UNFIT = {
    "nan": (workload_named("bad", model=_NAN), "search batch 0: layer '1' returns what is not"),
    "labels": (workload_named("bad", search="[(INPUTS, LABELS + 7)]"), "targets must be classes"),
    "fit-raises": (workload_named("bad", fit="lambda model: 1 / 0"), "ZeroDivisionError"),
    "fit-dies": (
        "import os\n" + workload_named("bad", fit="lambda model: os._exit(3)"),
        "its process ended with status 3",
    ),
}


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "_MEMORY", Memory())


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
@pytest.mark.parametrize("order", sorted(_WRONG))
def test_what_cannot_be_described_names_the_workload(order: str, tmp_path: Path) -> None:
    code, message = _WRONG[order]
    plugins = _plugins(tmp_path, write_plugin(tmp_path / "my.py", GOOD, code))

    with pytest.raises(DseError, match=f"workload 'bad': .*{message}"):
        plugins.find("bad", {})


@pytest.mark.slow
@pytest.mark.parametrize("order", sorted(_UNFIT))
def test_what_cannot_be_prepared_names_the_workload(order: str, tmp_path: Path) -> None:
    code, message = _UNFIT[order]
    plugins = _plugins(tmp_path, write_plugin(tmp_path / "my.py", GOOD, code))

    with pytest.raises(EvaluationError, match=f"workload 'bad': .*{message}"):
        _found(plugins, "bad").prepare(silent)


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
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("params = {'folder': FOLDER}", "must be plain JSON data: .*PosixPath"),
        ("params = {'rate': float('nan')}", "must be plain JSON data"),
        ("metrics = (5,)", "workload 'sick' cannot be described:\n  metrics.0: .*string, got 5"),
    ],
)
def test_network_that_tells_no_plain_data_of_itself_is_refused(
    changed: str, message: str, tmp_path: Path
) -> None:
    code = "from evaluators.workloads.own import OwnNetwork\n"
    code += "@workload('sick')\ndef sick(params, places):\n"
    code += "    made = OwnNetwork('sick', definition(), params={}, cache=None, source='')\n"
    code += f"    made.{changed}\n    return made\n"
    plugins = _plugins(tmp_path, write_plugin(tmp_path / "my.py", GOOD, code))

    with pytest.raises(DseError, match=message):
        plugins.find("sick", {})


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
