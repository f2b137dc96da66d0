from pathlib import Path

import pytest

from api.assignments import design_from, params_from
from dse.design import Design, Layer, NetworkShape, Value
from dse.errors import SpecError, UnknownNameError
from dse.knobs import KNOBS
from evaluators.hardware.bitfusion import bitfusion
from evaluators.hardware.psum_accelerator import psum_accelerator
from evaluators.registry import Places
from evaluators.workloads.mohaq_sru import mohaq_sru
from evaluators.workloads.shape_only import ShapeOnly

LAYERS = ("L0", "P1", "FC")


def network(dynamic: tuple[str, ...] = (), **defaults: Value) -> ShapeOnly:
    layers = tuple(Layer(name=n, k=2, n=2, dynamic=n in dynamic) for n in LAYERS)
    return ShapeOnly(name="shape", shape=NetworkShape(layers=layers), defaults=defaults)


def test_params_are_plain_scalars() -> None:
    assert params_from(["a=1", "b=x", "c=0.5", "d=true", "e=", "f=a=b"]) == {
        "a": 1,
        "b": "x",
        "c": 0.5,
        "d": True,
        "e": None,
        "f": "a=b",
    }


@pytest.mark.parametrize("text", ["a", "=1", ""])
def test_param_without_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=f"NAME=VALUE, got {text!r}"):
        params_from([text])


@pytest.mark.parametrize("value", ["[1]", "{}", "2020-01-01", "2020-13-45", "!!bool x", "'", "*a"])
def test_param_that_is_no_scalar_is_refused(value: str) -> None:
    with pytest.raises(SpecError, match="the value of a "):
        params_from([f"a={value}"])


def test_design_without_assignments_is_neutral() -> None:
    design = design_from(network(), [], None)

    assert design.choices["w_bits"] == dict.fromkeys(LAYERS, KNOBS["w_bits"].neutral)
    assert set(design.choices) == set(KNOBS)


def test_later_assignments_win() -> None:
    design = design_from(network(), ["w_bits=4", "w_bits@[LF]*=8", "w_bits@FC=2"], None)

    assert design.choices["w_bits"] == {"L0": 8, "P1": 4, "FC": 2}


def test_assignments_change_the_design_they_start_from() -> None:
    start = Design({"w_bits": dict.fromkeys(reversed(LAYERS), 4)})

    design = design_from(network(), ["w_bits@P1=8"], start)

    assert list(design.choices["w_bits"].items()) == [("L0", 4), ("P1", 8), ("FC", 4)]


@pytest.mark.parametrize("text", ["w_bits", "=4", "@L0=4", ""])
def test_text_that_assigns_nothing_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="KNOB=VALUE"):
        design_from(network(), [text], None)


@pytest.mark.parametrize("value", ["", "1", "9", "-4", "4.0", "four", "٤", "9" * 5000])
def test_value_that_the_knob_cannot_take_is_refused(value: str) -> None:
    with pytest.raises(SpecError, match=r"w_bits must be one of \[2, 3, 4, 5, 6, 7, 8, 16\]"):
        design_from(network(), [f"w_bits={value}"], None)


@pytest.mark.parametrize("glob", ["", "l0", "Q*", "L0 "])
def test_glob_that_matches_nothing_is_refused(glob: str) -> None:
    with pytest.raises(SpecError, match="matches no layer; allowed: @first, @last, L0, P1, FC"):
        design_from(network(), [f"w_bits@{glob}=4"], None)


def test_unknown_knob_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown knob 'bits'; allowed: .*w_bits"):
        design_from(network(), ["bits=4"], None)


def test_design_of_another_network_is_refused() -> None:
    start = Design({"w_bits": {"conv1": 4}})

    with pytest.raises(SpecError, match="of another network: its layers are conv1"):
        design_from(network(), [], start)


def test_words_are_assigned_as_numbers_are() -> None:
    texts = ["a_bits=8", "act_quantizer=absmax", "act_quantizer@P1=percentile"]

    design = design_from(network(), texts, None)

    assert design.choices["act_quantizer"] == {"L0": "absmax", "P1": "percentile", "FC": "absmax"}


def test_a_word_that_the_knob_does_not_know_is_refused_with_those_it_knows() -> None:
    message = r"must be one of \['mmse', 'absmax', 'percentile'\], got 'max'"

    with pytest.raises(SpecError, match=message):
        design_from(network(), ["act_quantizer=max"], None)
    start = Design({"act_quantizer": {"L0": "mmse", "P1": "max", "FC": "mmse"}})
    with pytest.raises(SpecError, match="act_quantizer at 'P1' " + message):
        design_from(network(), [], start)


def test_the_ends_of_a_network_have_names() -> None:
    design = design_from(network(), ["w_bits=4", "w_bits@@first=8", "w_bits@@last=16"], None)

    assert design.choices["w_bits"] == {"L0": 8, "P1": 4, "FC": 16}


def test_what_is_not_assigned_stands_at_the_default_of_the_workload() -> None:
    workload = network(a_bits=8, a_symmetry="asymmetric")

    design = design_from(workload, ["a_bits@FC=4"], None)

    assert design.choices["a_bits"] == {"L0": 8, "P1": 8, "FC": 4}
    assert set(design.choices["a_symmetry"].values()) == {"asymmetric"}


def test_what_a_given_design_leaves_out_is_neutral_whatever_the_default() -> None:
    start = Design({"w_bits": dict.fromkeys(LAYERS, 4)})

    assert design_from(network(a_bits=8), [], start).hash == start.hash


def test_a_choice_without_effect_stands_at_neutral() -> None:
    texts = ["w_bits=4", "w_bits@P1=16", "w_granularity=channel"]

    design = design_from(network(dynamic=("FC",)), texts, None)

    assert design.choices["w_granularity"] == {"L0": "channel", "P1": "tensor", "FC": "tensor"}


def test_partial_sums_without_effect_stand_at_neutral() -> None:
    platforms, speech = [psum_accelerator({})], mohaq_sru({}, Places(home=Path()))
    texts = ["w_bits=8", "a_bits=8", "psum_bits=8", "psum_group=all"]

    design = design_from(speech, texts, None, platforms=platforms)
    resident = design_from(speech, [*texts, "dataflow=os"], None, platforms=platforms)

    # 23 inputs make three partial sums of 8
    assert (design.value("psum_bits", "L0"), design.value("psum_group", "L0")) == (8, 2)
    assert design.value("psum_group", "P1") == "all"
    assert (resident.value("psum_bits", "P1"), resident.value("psum_group", "P1")) == (32, 1)


def test_partial_sums_are_refused_where_no_platform_has_any() -> None:
    with pytest.raises(SpecError, match="psum_bits needs a platform that offers it, none of"):
        design_from(network(), ["psum_bits=8"], None, platforms=[bitfusion({})])


def test_a_choice_of_the_whole_design_cannot_differ_between_layers() -> None:
    with pytest.raises(SpecError, match="dataflow is one choice for the whole design, got"):
        design_from(network(), ["dataflow@L0=os"], None, platforms=[psum_accelerator({})])
