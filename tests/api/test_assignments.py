import pytest

from api.assignments import design_from, params_from
from dse.design import Design
from dse.errors import SpecError, UnknownNameError
from dse.knobs import KNOBS

LAYERS = ("L0", "P1", "FC")


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
    design = design_from(LAYERS, [], None)

    assert design.choices["w_bits"] == dict.fromkeys(LAYERS, KNOBS["w_bits"].neutral)
    assert set(design.choices) == set(KNOBS)


def test_later_assignments_win() -> None:
    design = design_from(LAYERS, ["w_bits=4", "w_bits@[LF]*=8", "w_bits@FC=2"], None)

    assert design.choices["w_bits"] == {"L0": 8, "P1": 4, "FC": 2}


def test_assignments_change_the_design_they_start_from() -> None:
    start = Design({"w_bits": dict.fromkeys(reversed(LAYERS), 4)})

    design = design_from(LAYERS, ["w_bits@P1=8"], start)

    assert list(design.choices["w_bits"].items()) == [("L0", 4), ("P1", 8), ("FC", 4)]


@pytest.mark.parametrize("text", ["w_bits", "=4", "@L0=4", ""])
def test_text_that_assigns_nothing_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="KNOB=VALUE"):
        design_from(LAYERS, [text], None)


@pytest.mark.parametrize("value", ["", "1", "9", "-4", "4.0", "four", "٤", "9" * 5000])
def test_value_that_the_knob_cannot_take_is_refused(value: str) -> None:
    with pytest.raises(SpecError, match=r"w_bits must be one of \[2, 3, 4, 5, 6, 7, 8, 16\]"):
        design_from(LAYERS, [f"w_bits={value}"], None)


@pytest.mark.parametrize("glob", ["", "l0", "Q*", "L0 "])
def test_glob_that_matches_nothing_is_refused(glob: str) -> None:
    with pytest.raises(SpecError, match="matches no layer; allowed: L0, P1, FC"):
        design_from(LAYERS, [f"w_bits@{glob}=4"], None)


def test_unknown_knob_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown knob 'bits'; allowed: .*w_bits"):
        design_from(LAYERS, ["bits=4"], None)


def test_design_of_another_network_is_refused() -> None:
    start = Design({"w_bits": {"conv1": 4}})

    with pytest.raises(SpecError, match="of another network: its layers are conv1"):
        design_from(LAYERS, [], start)
