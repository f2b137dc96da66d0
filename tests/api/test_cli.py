import json
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

from api import cli
from dse.errors import DseError, Interrupted
from tests.command_line import Call


def _leaves(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path


COMMANDS = tuple(_leaves(typer.main.get_command(cli.make_app())))
GOOD: Mapping[str, Any] = {  # a job spec as JSON data
    "workload": {"name": "sru-phones"},
    "platforms": [{"name": "bitfusion"}],
    "knobs": [{"knob": "w_bits", "choices": [2, 4]}],
    "objectives": ["error", "speedup"],
}
TWICE = {"min": 3, "metric": "speedup"}, {"max": 2, "metric": "speedup"}
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcd", "bcde", strict=True)
)


# `w_bits` everywhere, or by layer; memory_mib, speedup, energy_uj: MOHAQ's public code
@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DSE_DATABASE_URL", "DSE_TIMIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_every_command_shows_an_example(command: tuple[str, ...], call: Call) -> None:
    said = call(*command, "--help")

    assert said.code == 0
    example = f"dse {' '.join(command)}"
    assert any(line.strip().startswith(example) for line in said.out.splitlines())
    assert said.err == ""


def test_help_lists_every_command(call: Call) -> None:
    said = call("--help")

    listed = re.findall(r"^  (\w+)  ", said.out, re.MULTILINE)
    assert set(listed) == {command[0] for command in COMMANDS}
    assert set(listed) >= {"run", "cost", "evaluate", "workloads", "platforms", "knobs", "report"}


def test_cost_prints_one_document_and_nothing_else(call: Call) -> None:
    said = call("cost", "--workload", "mohaq-sru", "--platform", "silago", "--json")

    document = json.loads(said.out)
    assert said.err == ""
    assert list(document) == ["workload", "platforms", "design", "metrics", "layers"]
    energy = sum(part["energy_uj"] for part in document["layers"])
    assert energy == pytest.approx(document["metrics"]["energy_uj"])


def test_cost_of_a_document_of_cost_is_the_same(call: Call, tmp_path: Path) -> None:
    where = ("cost", "--workload", "mohaq-sru", "--platform", "bitfusion", "--json")
    first = call(*where, "--set", "w_bits=4", "--set", "a_bits@L?=8")
    (tmp_path / "design.json").write_text(first.out)

    second = call(*where, "--design", tmp_path / "design.json")

    assert second == first


def test_cost_takes_words_and_the_ends_of_the_network(call: Call) -> None:
    where = ("cost", "--workload", "mohaq-sru", "--platform", "bitfusion", "--json")
    bits = ("--set", "w_bits=4", "--set", "w_bits@@first=16")

    said = call(*where, *bits, "--set", "w_granularity=channel", "--set", "act_quantizer=absmax")

    design = json.loads(said.out)["design"]
    assert design["w_bits"] | {"L0": 4} == dict.fromkeys(design["w_bits"], 4)
    # one scale is all there is at 16 bits, of weights (L0) as of activations (everywhere)
    assert design["w_granularity"] == dict.fromkeys(design["w_bits"], "channel") | {"L0": "tensor"}
    assert set(design["act_quantizer"].values()) == {"mmse"}
    assert json.loads(said.out)["metrics"] == json.loads(call(*where, *bits).out)["metrics"]


def test_a_stored_document_with_words_is_read_back(call: Call, tmp_path: Path) -> None:
    where = ("cost", "--workload", "mohaq-sru", "--platform", "bitfusion", "--json")
    first = call(*where, "--set", "a_bits=4", "--set", "a_symmetry=asymmetric")
    (tmp_path / "design.json").write_text(first.out)

    assert call(*where, "--design", tmp_path / "design.json") == first


@pytest.mark.parametrize("command", ["workloads", "platforms", "knobs"])
def test_listings_are_documents_too(command: str, call: Call) -> None:
    said = call(command, "--json")

    assert said.err == ""
    assert json.loads(said.out)["items"]


@pytest.mark.parametrize(
    ("arguments", "given", "allowed"),
    [
        (("cost", "--workload", "nope", "--platform", "silago"), "'nope'", "mohaq-sru"),
        (("cost", "--workload", "mohaq-sru", "--platform", "nope"), "'nope'", "silago"),
        (("mohaq-sru", "--set", "w_bits=1"), "'1'", "16"),
        (("mohaq-sru", "--set", "w_bits=4"), "w_bits=4", "equal"),
        (("mohaq-sru", "--set", "nope=4"), "'nope'", "w_bits"),
        (("mohaq-sru", "--set", "a_symmetry=odd"), "'odd'", "asymmetric"),
        (("mohaq-sru", "--set", "w_bits@X*=4"), "'X*'", "L0"),
        (("mohaq-sru", "--set", "w_bits"), "'w_bits'", "KNOB=VALUE"),
        (("mohaq-sru", "--param", "mode=fast"), "'fast'", "latency"),
        (("mohaq-sru", "--param", "mode=2020-13-45"), "'2020-13-45'", "scalar"),
        (("mohaq-sru", "--param", "mode=[a]"), "'[a]'", "number"),
        (("mohaq-sru", "--param", "pace=1"), "pace", "mode"),
        (("mohaq-sru", "--workload-param", "steps=1"), "steps", "no parameters"),
        (("mohaq-sru", "--platform", "silago"), "silago", "repeat"),
        (("mohaq-sru", "--design", "0123abcd"), "'0123abcd'", "allowed"),
        (("platforms", "nope"), "'nope'", "silago"),
        (("report", "nope"), "'nope'", "allowed"),
        (("nope",), "nope", "--help"),
        (("run",), "spec", "--help"),
    ],
)
def test_wrong_usage_names_what_was_given_and_what_is_allowed(
    arguments: tuple[str, ...], given: str, allowed: str, call: Call
) -> None:
    if arguments[0] == "mohaq-sru":
        arguments = ("cost", "--platform", "silago", "--workload", *arguments)

    said = call(*arguments)

    assert (said.code, said.out) == (2, "")
    assert given in said.err
    assert allowed in said.err


def test_evaluate_of_a_shape_points_to_cost(call: Call) -> None:
    said = call("evaluate", "--workload", "mohaq-sru", "--platform", "silago")

    assert said.code == 2
    assert "mohaq-sru" in said.err
    assert "dse cost" in said.err


@pytest.mark.parametrize(
    ("change", "given", "allowed"),
    [
        ({"workload": {"name": "nope"}}, "'nope'", "sru-phones"),
        ({"workload": {"name": "mohaq-sru"}}, "'mohaq-sru'", "dse cost"),
        ({"workload": {"name": "sru-phones", "params": {"steps": 0}}}, "0", "1 to 100000"),
        ({"workload": {"name": "sru-phones", "params": {"step": 9}}}, "'step'", "steps"),
        ({"platforms": [{"name": "nope"}]}, "'nope'", "silago"),
        ({"platforms": []}, "platforms", "at least 1"),
        ({"knobs": [{"knob": "nope", "choices": [2]}]}, "'nope'", "w_bits"),
        ({"knobs": [{"knob": "w_bits", "choices": []}]}, "choices", "at least 1"),
        ({"knobs": [{"knob": "w_bits", "choices": [2, 9]}]}, "[9]", "[2, 3, 4, 5, 6, 7, 8, 16]"),
        ({"knobs": [{"knob": "w_bits", "choices": [4]}]}, "single design", "search"),
        ({"knobs": [{"knob": "w_bits", "layers": "Q*", "choices": [2, 4]}]}, "'Q*'", "L0"),
        ({"objectives": ["error", "nope"]}, "'nope'", "speedup"),
        ({"objectives": []}, "objectives", "at least 1"),
        ({"constraints": [{"metric": "nope", "max": 1}]}, "'nope'", "memory_mib"),
        ({"constraints": [{"metric": "memory_mib", "max": -1}]}, "-1", "greater than or equal"),
        ({"constraints": [*TWICE]}, "at least 3", "at most 2"),
        ({"constraints": [{"metric": "error", "max_increase": -1}]}, "-1", "greater"),
        ({"search": {"generations": -1}}, "-1", "greater than or equal to 1"),
        ({"search": {"population": 0}}, "0", "greater than or equal to 4"),
        ({"search": {"algorithm": "nope"}}, "'nope'", "nsga2"),
        ({"reference_point": {"error": 1}}, "['error']", "speedup"),
        ({"evaluation": {"timeout_s": -1}}, "-1", "greater than 0"),
        ({"budget": 3}, "budget", "allowed: name, workload"),
    ],
)
def test_spec_that_cannot_be_run_is_refused_before_anything_is_stored(
    change: Mapping[str, Any], given: str, allowed: str, call: Call, home: Path
) -> None:
    spec = home.with_name("spec.yaml")
    spec.write_text(yaml.safe_dump({**GOOD, **change}))

    said = call("run", spec)

    assert (said.code, said.out) == (2, "")
    assert given in said.err
    assert allowed in said.err
    assert list(home.iterdir()) == []


def test_spec_of_a_thousand_mistakes_shows_the_first(call: Call, home: Path) -> None:
    spec = home.with_name("spec.yaml")
    spec.write_text(yaml.safe_dump({**GOOD, "knobs": [{"knob": "", "choices": []}] * 1000}))

    said = call("run", spec)

    assert said.code == 2
    assert said.err.endswith("and 1980 more\n")
    assert len(said.err.splitlines()) == 22


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"w_bits": {"L0": 4}}', '{"w_bits": {"L0": true}}', "[" * 100_000, "\x00"],
    ids=lambda text: text[:30],
)
def test_file_that_holds_no_design_is_refused(text: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "design.json").write_text(text)
    where = ("--workload", "mohaq-sru", "--platform", "bitfusion")

    said = call("cost", *where, "--design", tmp_path / "design.json")

    assert (said.code, said.out) == (2, "")
    assert "Traceback" not in said.err


def test_name_of_a_design_may_be_too_long_for_a_file(call: Call) -> None:
    where = ("--workload", "mohaq-sru", "--platform", "bitfusion")

    assert call("cost", *where, "--design", "f" * 300).code == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- a\n- b\n", "must be a mapping, got list"),
        ("", "must be a mapping, got an empty document"),
        ("name: [\n", "no plain YAML"),
        ("name: !!python/object/apply:os.system [true]\n", "could not determine a constructor"),
        ("name: !secret x\n", "could not determine a constructor"),
        ("name: 2020-13-45\n", "a value that YAML cannot read"),
        ("name: !!bool x\n", "a value that YAML cannot read"),
        ("name: !!timestamp x\n", "a value that YAML cannot read"),
        (f"name: {'9' * 5000}\n", "a value that YAML cannot read"),
        (BOMB, "unfolds to at most"),
        ("a: &a [*a]\n", "contain itself"),
        ("name: a\nname: b\n", "stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ("#" * 1_000_001, "at most 1000000 bytes"),
        ("\x00\x01\x02", "no plain YAML"),
        (b"\xff\xfe\xff", "no plain YAML"),
        ('name: "\\ud800"\n', "does not hold"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_file_that_is_no_spec_is_refused_in_a_sentence(
    text: str | bytes, complaint: str, call: Call, home: Path
) -> None:
    spec = home.with_name("spec.yaml")
    spec.write_bytes(text if isinstance(text, bytes) else text.encode())

    said = call("run", spec)

    assert (said.code, said.out) == (2, "")
    assert complaint in said.err
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("nothing.yaml", "No such file"), (".", "directory"), ("spec.yaml/x", "Not a directory")],
)
def test_spec_that_cannot_be_read_is_named(
    name: str, complaint: str, call: Call, home: Path
) -> None:
    home.with_name("spec.yaml").write_text("name: a\n")

    said = call("run", home.parent / name)

    assert said.code == 2
    assert str(home.parent / name) in said.err
    assert complaint in said.err


@pytest.mark.parametrize("option", ["--json", "--report"])
@pytest.mark.parametrize("target", [".", "nowhere/x.json", "spec.yaml/x.json"])
def test_target_that_cannot_be_written_is_refused_before_the_run(
    option: str, target: str, call: Call, home: Path
) -> None:
    spec = home.with_name("spec.yaml")
    spec.write_text(yaml.safe_dump(dict(GOOD)))

    said = call("run", spec, option, home.parent / target)

    assert (said.code, said.out) == (2, "")
    assert str(home.parent / target) in said.err
    assert sorted(path.name for path in home.parent.iterdir()) == ["spec.yaml"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_home_that_is_a_file_is_refused(
    place: str, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.with_name("file").write_text("mine")
    monkeypatch.setenv("DSE_HOME", str(home.parent / place))

    said = call("workloads")

    assert said.code == 2
    assert f"DSE_HOME must be a folder, got {home.parent / place}" in said.err
    assert home.with_name("file").read_text() == "mine"


@pytest.mark.parametrize("url", ["nonsense", "mysql://u@h/x", "sqlite://", "sqlite:///:memory:"])
def test_database_url_of_another_kind_is_refused(
    url: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSE_DATABASE_URL", url)

    said = call("db", "upgrade")

    assert said.code in (1, 2)
    assert url in said.err
    assert "sqlite:///FILE" in said.err


@pytest.mark.parametrize("content", [b"not a database, " * 300, bytes(range(256)) * 64])
def test_database_that_is_none_is_refused_and_left_alone(
    content: bytes, call: Call, home: Path
) -> None:
    home.mkdir()
    (home / "dse.db").write_bytes(content)

    said = call("report")

    assert (said.code, said.out) == (1, "")
    assert str(home / "dse.db") in said.err
    assert "not a database" in said.err
    assert (home / "dse.db").read_bytes() == content


def test_cache_whose_place_is_taken_by_a_file_is_refused(call: Call, home: Path) -> None:
    home.mkdir()
    (home / "cache").write_text("mine")
    where = ("--workload", "sru-phones", "--platform", "bitfusion")

    said = call("evaluate", *where)

    assert said.code == 1
    assert str(home / "cache") in said.err
    assert "Traceback" not in said.err


def test_database_in_a_folder_with_url_signs_stays_there(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = home.parent / "what? 100%25 #1 @home"
    monkeypatch.setenv("DSE_HOME", str(odd))

    said = call("db", "upgrade")

    assert said.code == 0
    assert (odd / "dse.db").is_file()


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (Interrupted("stopped"), 130, "dse: stopped\n"),
        (KeyboardInterrupt(), 130, "dse: interrupted; what is stored stays"),
        (DseError("broken"), 1, "dse: broken\n"),
    ],
)
def test_every_end_has_its_code_and_its_sentence(
    error: BaseException, code: int, told: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "make_app", fail)

    said = call("knobs")

    assert (said.code, said.out) == (code, "")
    assert said.err.startswith(told)


def test_sigterm_ends_a_command_like_ctrl_c(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "make_app", lambda: lambda: signal.raise_signal(signal.SIGTERM))

    assert call("knobs").code == 130
