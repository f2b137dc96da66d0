"""A platform whose knob is a word: no shipped one has any, the port allows it."""

from collections.abc import Mapping

import numpy as np
import pytest

from dse.design import Design, Layer, NetworkShape, Value
from dse.errors import SpecError
from evaluators.hardware.choices import accepted_values, as_choices
from evaluators.hardware.psum_accelerator import psum_accelerator
from tests.fakes import FakePlatform

SHAPE = NetworkShape(layers=(Layer(name="a", k=2, n=2), Layer(name="b", k=2, n=2)))


class Worded(FakePlatform):
    knobs: Mapping[str, tuple[Value, ...]] = {"w_bits": (4, 16), "a_symmetry": ("symmetric",)}


def test_words_come_back_as_words_and_numbers_as_numbers() -> None:
    choices = as_choices(SHAPE, Design({"w_bits": {"a": 4}}))

    values = accepted_values(Worded(), SHAPE, choices)

    assert values["w_bits"].tolist() == [[4, 16]]
    assert values["w_bits"].dtype == np.int64
    assert values["a_symmetry"].tolist() == [["symmetric", "symmetric"]]


def test_a_word_that_the_platform_does_not_take_is_refused() -> None:
    choices = as_choices(SHAPE, Design({"a_symmetry": {"b": "asymmetric"}}))

    with pytest.raises(SpecError, match="takes a_symmetry of symmetric; layer 'b' has a_symmetry"):
        accepted_values(Worded(), SHAPE, choices)


def test_layers_that_differ_in_a_choice_of_the_whole_design_are_refused() -> None:
    choices = as_choices(SHAPE, Design({"dataflow": {"a": "is", "b": "ws"}}))

    with pytest.raises(SpecError, match="dataflow is one choice .* layer 'b' has ws, the first"):
        accepted_values(psum_accelerator({}), SHAPE, choices)


def test_a_word_among_numbers_is_read_as_such() -> None:
    choices = as_choices(SHAPE, Design({"psum_group": {"a": "all"}}))

    values = accepted_values(psum_accelerator({}), SHAPE, choices)

    assert values["psum_group"].tolist() == [["all", 1]]


def test_a_word_that_is_none_of_the_knobs_is_refused() -> None:
    with pytest.raises(SpecError, match="a_symmetry must be one of symmetric, .*got odd at 'a'"):
        as_choices(SHAPE, Design({"a_symmetry": {"a": "odd"}}))
