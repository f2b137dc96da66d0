"""Code of others, loaded in this process: only files that do no harm."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dse.errors import EvaluationError, SpecError, UnknownNameError
from evaluators import plugins, registry
from evaluators.plugins import clashes, file_digest, installed, installed_digest, load_file
from evaluators.registry import OWN, Places, make_known_workload, make_workload, workload
from evaluators.tasks import make_evaluator
from tests.evaluators.plugin_files import BAD, GOOD, TUNABLE, workload_named, write_plugin


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    before = dict(OWN)
    yield
    OWN.clear()
    OWN.update(before)


def test_registered_function_is_known_by_its_name_and_stays_as_it_is() -> None:
    def make() -> int:
        """Count to three.

        And no further.
        """
        return 3

    assert workload("counting")(make) is make
    assert OWN["counting"].summary == "Count to three."
    assert workload("counting-2", summary="told")(make) is make
    assert OWN["counting-2"].summary == "told"


@pytest.mark.parametrize("name", ["", "Upper", "a b", "../up", ".hidden", "x" * 101])
def test_names_that_cannot_be_one_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="name must be lower-case letters"):
        workload(name)


def test_summary_and_parameters_that_are_no_plain_data_are_refused() -> None:
    with pytest.raises(SpecError, match="summary of workload 'mine' must be a text, got 5"):
        workload("mine", summary=5)  # type: ignore[arg-type]
    for params in ({"folder": Path("x")}, {"rate": float("nan")}, {"pair": (1, 2)}, {"x": {1: 2}}):
        with pytest.raises(SpecError, match="params of workload 'mine' must be JSON data"):
            workload("mine", params=params)


def test_name_that_is_taken_is_refused() -> None:
    workload("mine")(lambda: None)

    with pytest.raises(SpecError, match="'mine' is registered twice"):
        workload("mine")(lambda: None)
    with pytest.raises(SpecError, match="'sru-phones' comes with beacon-dse"):
        workload("sru-phones")


def test_file_is_loaded_once_a_process(tmp_path: Path) -> None:
    path = write_plugin(tmp_path / "my.py", GOOD)

    assert list(load_file(path)) == list(load_file(path)) == ["good"]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("silent", "registers no workload"),
        ("twice", "'good' is registered twice"),
        ("taken", "'sru-phones' comes with beacon-dse"),
    ],
)
def test_files_that_register_wrongly_are_refused(order: str, message: str, tmp_path: Path) -> None:
    parts = (BAD[order],) if order == "silent" else (GOOD, BAD[order])

    with pytest.raises(SpecError, match=message):
        load_file(write_plugin(tmp_path / f"{order}.py", *parts))


def test_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"cannot read plug-in {tmp_path}/none.py"):
        file_digest(tmp_path / "none.py")


def test_workload_of_a_file_is_made_with_complete_parameters(tmp_path: Path) -> None:
    places = Places(home=tmp_path, plugins=(write_plugin(tmp_path / "my.py", GOOD, TUNABLE),))

    made = make_workload("tunable", {"hidden": 5, "rate": 1}, places)

    assert made.params == {"hidden": 5, "rate": 1}
    assert made.shape.layers[0].n == 5
    assert make_workload("tunable", {}, places).params == {"hidden": 8, "rate": 0.5}
    assert make_workload("tunable", {}, places).defaults == {"w_bits": 8}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"width": 5}, "tunable takes no parameter 'width'; allowed: hidden, rate"),
        ({"hidden": "5"}, "hidden must be of type int, as its default 8, got '5'"),
        ({"hidden": True}, "hidden must be of type int"),
    ],
)
def test_parameters_are_checked_against_the_defaults(
    params: dict[str, object], message: str, tmp_path: Path
) -> None:
    places = Places(home=tmp_path, plugins=(write_plugin(tmp_path / "my.py", GOOD, TUNABLE),))

    with pytest.raises(SpecError, match=message):
        make_workload("tunable", params, places)


def test_what_is_no_workload_is_refused(tmp_path: Path) -> None:
    code = "@workload('nothing')\ndef nothing(params, places):\n    return places.home\n"
    places = Places(home=tmp_path, plugins=(write_plugin(tmp_path / "my.py", GOOD, code),))

    with pytest.raises(SpecError, match="nothing must return a Definition or a network"):
        make_workload("nothing", {}, places)


def test_no_code_of_others_runs_for_a_known_workload(tmp_path: Path) -> None:
    places = Places(home=tmp_path, plugins=(write_plugin(tmp_path / "my.py", BAD["raises"]),))

    assert make_known_workload("mohaq-sru", {}, places).name == "mohaq-sru"
    with pytest.raises(UnknownNameError, match="'good'; allowed: .*mohaq-sru"):
        make_known_workload("good", {}, places)


def test_function_with_parameters_of_its_own_keeps_their_defaults(tmp_path: Path) -> None:
    code = "@workload('deep', params={'hidden': 5})\n"
    code += "def deep(settings, more=2):\n"
    code += "    return definition(model=lambda: network(settings['hidden'] + more))\n"
    places = Places(home=tmp_path, plugins=(write_plugin(tmp_path / "my.py", GOOD, code),))

    assert make_workload("deep", {}, places).shape.layers[0].n == 7


def test_no_code_of_others_runs_for_a_workload_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workloads").mkdir()
    bad = write_plugin(tmp_path / "my.py", BAD["raises"])
    monkeypatch.setattr(registry, "file_names", lambda places: ["mine"])
    monkeypatch.setattr(registry, "_FILE", f"{__name__}:_found")
    _offer(monkeypatch, ("mine", "a_module_that_is_not_there:mine"))

    made: object = make_workload("mine", {}, Places(home=tmp_path, plugins=(bad,)))

    assert made == "mine, from files"


def _found(name: str, places: Places) -> str:
    return f"{name}, from files"


def test_digest_of_a_file_is_its_contents(tmp_path: Path) -> None:
    first = write_plugin(tmp_path / "my.py", GOOD)
    digest = file_digest(first)

    assert file_digest(write_plugin(tmp_path / "other.py", GOOD)) == digest
    assert file_digest(write_plugin(tmp_path / "my.py", GOOD, "x = 1")) != digest


def _offer(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    found = [EntryPoint(name, value, plugins.GROUP) for name, value in entries]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)


def test_entry_point_is_a_workload_registered_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def plain():\n    return definition()\n"
    write_plugin(tmp_path / "my_entry_points.py", GOOD, code)
    monkeypatch.syspath_prepend(str(tmp_path))
    _offer(monkeypatch, ("good", "my_entry_points:good"), ("plain", "my_entry_points:plain"))

    for name in ("good", "plain"):
        made = make_workload(name, {}, Places(home=tmp_path))
        assert made.name == name
        assert made.shape.macs == 6 * 8 + 8 * 3


def test_entry_point_under_another_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path / "my_other_points.py", GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    _offer(monkeypatch, ("better", "my_other_points:good"))

    with pytest.raises(SpecError, match="'better' of .* leads to workload 'good'"):
        make_workload("better", {}, Places(home=tmp_path))


def test_entry_points_with_a_name_in_common_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _offer(monkeypatch, ("a", "m:f"), ("a", "n:f"), ("b", "m:g"), ("sru-phones", "m:h"))

    assert list(installed()) == ["b"]
    assert "'a' is offered more than once" in clashes()["a"]
    assert "'sru-phones'" in clashes()["sru-phones"]


def test_digest_of_an_entry_point_covers_its_whole_package_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "my_whole_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("x", "my_whole_package.inner:f", plugins.GROUP)

    digests = []
    for text in ("a = 1", "a = 2"):
        (package / "other.py").write_text(text)
        digests.append(installed_digest(entry))

    assert digests[0] != digests[1]


def test_network_that_was_edited_meanwhile_is_refused(tmp_path: Path) -> None:
    places = Places(home=tmp_path, plugins=(write_plugin(tmp_path / "my.py", GOOD),))

    with pytest.raises(EvaluationError, match=r"'good' is another .* was replaced or edited mean"):
        make_evaluator("good", {}, places, tmp_path, digest="0" * 64)


def test_code_that_can_be_registered_is_named_in_tests(tmp_path: Path) -> None:
    code = workload_named("narrow", model="lambda: network(2)")
    places = Places(home=tmp_path, plugins=(write_plugin(tmp_path / "my.py", GOOD, code),))

    assert make_workload("narrow", {}, places).shape.layers[0].n == 2
