import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.design import Design
from dse.errors import SpecError
from dse.knobs import KNOBS
from dse.space import knob_indices
from tests.fakes import LAYERS, fake_problem

SPACE = fake_problem().space
GENOMES = st.tuples(*(st.integers(0, n - 1) for n in SPACE.cardinalities))


def uniform(w: int, a: int) -> Design:
    return Design({"w_bits": dict.fromkeys(LAYERS, w), "a_bits": dict.fromkeys(LAYERS, a)})


def test_size_counts_every_design_once() -> None:
    assert SPACE.size == 4**5 * 3


@given(genome=GENOMES)
def test_encode_reverses_decode(genome: tuple[int, ...]) -> None:
    assert SPACE.encode(SPACE.decode(genome)) == genome


@given(one=GENOMES, other=GENOMES)
def test_equal_designs_have_equal_hashes_and_no_others(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    assert (SPACE.decode(one).hash == SPACE.decode(other).hash) == (one == other)


def test_hash_does_not_change_when_a_neutral_knob_is_left_out() -> None:
    told = Design({"w_bits": {"x": 4}, "a_bits": {"x": 16}})

    assert told.hash == Design({"w_bits": {"x": 4}}).hash


def test_a_design_outside_the_space_has_no_genome() -> None:
    assert SPACE.encode(uniform(2, 2)) is None
    assert SPACE.encode(uniform(3, 4)) is None


def test_tied_targets_that_differ_have_no_genome() -> None:
    knobs = [{"knob": "w_bits", "choices": [4, 8], "tie": "all"}]
    space = fake_problem(knobs=knobs).space
    mixed = Design({"w_bits": {"in": 4, "mid": 8, "out": 4}, "a_bits": dict.fromkeys(LAYERS, 16)})

    assert space.encode(mixed) is None


@pytest.mark.parametrize(
    ("given_bits", "repaired"), [((2, 2), (2, 4)), ((3, 3), (4, 4)), ((16, 16), (16, 16))]
)
def test_repair_takes_the_next_higher_choice(
    given_bits: tuple[int, int], repaired: tuple[int, int]
) -> None:
    fixed = SPACE.repair(uniform(*given_bits))

    assert (fixed.value("w_bits", "out"), fixed.value("a_bits", "out")) == repaired


@given(w=st.sampled_from(KNOBS["w_bits"].choices), a=st.sampled_from(KNOBS["a_bits"].choices))
def test_repair_is_idempotent_and_ends_in_the_space(w: int, a: int) -> None:
    repaired = SPACE.repair(uniform(w, a))

    assert SPACE.encode(repaired) is not None
    assert SPACE.repair(repaired) == repaired


def test_repair_beyond_the_highest_choice_takes_the_highest() -> None:
    space = fake_problem(knobs=[{"knob": "w_bits", "choices": [2, 4]}]).space

    assert space.repair(uniform(16, 16)).value("w_bits", "in") == 4


def test_knob_indices_point_into_the_catalogue() -> None:
    indices = SPACE.knob_indices([uniform(2, 16), uniform(16, 3)])

    choices = KNOBS["w_bits"].choices
    assert [[choices[i] for i in row] for row in indices["w_bits"]] == [[2] * 3, [16] * 3]
    assert [[choices[i] for i in row] for row in indices["a_bits"]] == [[16] * 3, [3] * 3]


def test_a_value_outside_the_catalogue_is_refused() -> None:
    with pytest.raises(SpecError, match="w_bits@in must be one of .*got 9"):
        knob_indices([uniform(9, 2)], ["w_bits"], LAYERS)
