import time
from pathlib import Path

import pytest
import yaml

from dse.errors import SpecError
from dse.spec import MAX_BYTES, parse_spec, read_spec, spec_from_data
from tests.fakes import fake_spec, spec_data


def test_defaults_are_those_of_the_paper() -> None:
    data = spec_data()
    del data["search"]
    search = spec_from_data(data).search

    assert (search.population, search.offspring, search.generations) == (40, 10, 60)
    assert search.seed_designs == []


def test_yaml_and_json_give_the_same_spec() -> None:
    spec = fake_spec()

    assert parse_spec(yaml.safe_dump(spec_data())) == spec
    assert parse_spec(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": []}, "objectives: .*at least 1 item"),
        ({"objectives": ["error", "error"]}, "objectives must not repeat"),
        ({"platforms": []}, "platforms: .*at least 1 item"),
        ({"platforms": [{"name": "a"}, {"name": "a"}]}, "platforms must not repeat"),
        ({"knobs": [{"knob": "w_bits", "choices": []}]}, "knobs.0.choices: .*at least 1 item"),
        ({"knobs": [{"knob": "w_bits", "choices": [2, 2]}]}, "choices must not repeat"),
        (
            {"knobs": [{"knob": "w_bits", "choices": [None]}]},
            "choices.0: a knob's value is a whole number or a word, got None",
        ),
        (
            {"knobs": [{"knob": "a_symmetry", "choices": [""]}]},
            "knobs.0.choices.0: a word has 1 to 100 characters, got ''",
        ),
        ({"knobs": [{"knob": "w_bits", "choices": [2.5]}]}, "knobs.0.choices.0: .*got 2.5"),
        ({"knobs": [{"knob": "w_bits", "choices": [True]}]}, "knobs.0.choices.0: .*got True"),
        ({"search": {"population": -3}}, "search.population: .*greater.*got -3"),
        ({"search": {"generations": 0}}, "search.generations: .*got 0"),
        ({"search": {"offspring": -1}}, "search.offspring: .*got -1"),
        ({"search": {"seed": 1.5}}, "search.seed: .*got 1.5"),
        ({"search": {"algorithm": "magic"}}, "search.algorithm: .*'nsga2'.*got 'magic'"),
        ({"search": {"seed_designs": ["best"]}}, "seed_designs.0: .*'uniform' or 'greedy'"),
        (
            {"search": {"baselines": [], "seed_designs": ["greedy"]}},
            "seed_designs must be among baselines",
        ),
        ({"constraints": [{"metric": "error"}]}, "exactly one of max, min, max_increase"),
        (
            {"constraints": [{"metric": "error", "max": 1, "min": 0}]},
            "exactly one of max, min, max_increase",
        ),
        (
            {"constraints": [{"metric": "e", "max": 1}, {"metric": "e", "min": 2}]},
            "contradict each other: e at least 2.0 and at most 1.0",
        ),
        ({"constraints": [{"metric": "e", "max": float("nan")}]}, "finite number"),
        ({"constraints": [{"metric": "e", "max_increase": -1}]}, "greater than or equal to 0"),
        ({"reference_point": {"error": 1.0}}, "must name exactly the objectives"),
        ({"evaluation": {"timeout_s": 0}}, "evaluation.timeout_s: .*greater than 0"),
        ({"beacons": {"enabled": True, "window": [5, 5]}}, r"window must be .*low < high.*5"),
        ({"beacons": {"window": [5]}}, "beacons.window"),
        ({"beacons": {"distance": -1}}, "beacons.distance: .*greater than or equal to 0"),
        ({"beacons": {"knob_weights": {"w_bits": 0}}}, "knob_weights must count some knob"),
        ({"beacons": {"gates": {"speedup": {}}}}, "gate has min, max or both, got neither"),
        ({"beacons": {"max_beacons": 0}}, "beacons.max_beacons: .*got 0"),
        ({"beacons": {"steps": 1.5}}, "beacons.steps: .*got 1.5"),
        ({"nonsense": 1}, "nonsense: no such field, got 'nonsense'; allowed: name, workload, pl"),
        ({"beacons": {"step": 1}}, "beacons.step: no such field, got 'step'; allowed: enabled"),
        ({"beacons": {"gates": {"speedup": {"mon": 1}}}}, "speedup.mon: .*allowed: min, max"),
        ({"constraints": [{"metrik": "e"}]}, "constraints.0.metrik: .*allowed: metric, max, min"),
        ({"evaluation": {"pol": 1}}, "evaluation.pol: .*allowed: pool, timeout_s, memory_mib"),
        ({"beacons": None}, "beacons: must be a mapping, got None"),
        ({"workload": "sru"}, "workload: .*got 'sru'"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_given(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        spec_from_data(spec_data(**changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty document"),
        ("- 1\n- 2", "must be a mapping, got list"),
        ("just words", "must be a mapping, got str"),
        ("a: !!python/object/apply:os.system [ls]", "no plain YAML"),
        ("a: !thing 1", "no plain YAML"),
        ("a: [1, 2", "no plain YAML"),
        ("a: 1\na: 2", "key 'a' stands twice, line 1"),
        ("a: &x [*x]", "contain itself"),
        ("[" * 5000, "nested too deeply"),
        ("a: \x00", "no plain YAML"),
        (b"\xff\xfe\xff", "no plain YAML"),
        ("a: 1\n---\nb: 2", "no plain YAML"),
    ],
)
def test_what_is_no_plain_mapping_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_spec(text)


def test_aliases_that_explode_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    started = time.process_time()

    with pytest.raises(SpecError, match="unfolds to at most"):
        parse_spec("\n".join(lines))

    assert time.process_time() - started < 5


def test_an_alias_that_only_repeats_choices_is_welcome() -> None:
    text = yaml.safe_dump(spec_data()) + "\n"
    assert "&" not in text
    shared = text.replace("constraints:", "name: &n x\nconstraints:", 1).replace(
        "name: test\n", "", 1
    )

    assert parse_spec(shared).name == "x"


def test_a_spec_over_a_megabyte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("# " + "x" * MAX_BYTES)

    with pytest.raises(SpecError, match="at most 1000000 bytes"):
        read_spec(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read .*none.yaml: No such file"):
        read_spec(tmp_path / "none.yaml")


def test_digest_tells_searches_apart_but_not_their_names_or_pools() -> None:
    spec = fake_spec()

    assert fake_spec(name="other", priority=3).digest() == spec.digest()
    assert fake_spec(evaluation={"pool": "inline"}).digest() == spec.digest()
    assert fake_spec(search={"seed": 9}).digest() != spec.digest()


def test_beacons_that_are_off_change_no_digest() -> None:
    plain = spec_from_data(spec_data())

    assert spec_from_data(spec_data(beacons={"steps": 7})).digest() == plain.digest()
    assert spec_from_data(spec_data(beacons={"enabled": True})).digest() != plain.digest()
