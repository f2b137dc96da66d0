import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.canonical import At, Canon, alive_codes, smallest_group
from dse.design import Choices, Design, Value
from dse.knobs import KNOBS

LAYERS = ("a", "b", "c")
DYNAMIC = frozenset({"c"})
TILES = {"a": 1, "b": 3, "c": 12}


def sums(layer: str, at: At) -> int:
    exact = at.get("dataflow") == "os" or 16 in (at.get("w_bits", 16), at.get("a_bits", 16))
    return 1 if exact else TILES[layer]


CANON = Canon(dynamic=DYNAMIC, sums=sums)


def folds(group: Value, n: int) -> list[bool]:
    """Say of each of n partial sums whether it folds what is stored (APSQ's recursion)."""
    size = n if isinstance(group, str) else group
    return [t % size == 0 or t == n - 1 for t in range(n)]


designs = st.builds(
    Design,
    st.fixed_dictionaries(
        {},
        optional={
            name: st.fixed_dictionaries(
                {layer: st.sampled_from((*knob.choices, knob.neutral)) for layer in LAYERS}
            )
            for name, knob in KNOBS.items()
        },
    ),
)


def meaning(design: Design, layer: str) -> tuple[object, ...]:
    """Say, by the words of the knobs' meanings, what is computed at a layer."""
    w_bits, a_bits = design.value("w_bits", layer), design.value("a_bits", layer)
    inputs = (design.value("act_quantizer", layer), design.value("a_symmetry", layer))
    operands: list[tuple[Value, ...]] = [(a_bits,) if a_bits == 16 else (a_bits, *inputs)]
    if layer in DYNAMIC:
        operands.append((w_bits,) if w_bits == 16 else (w_bits, *inputs))
    else:
        granularity = design.value("w_granularity", layer)
        operands.append((w_bits,) if w_bits == 16 else (w_bits, granularity))
    stored, dataflow = design.value("psum_bits", layer), design.value("dataflow", layer)
    n = sums(layer, {"dataflow": dataflow, "w_bits": w_bits, "a_bits": a_bits})
    exact = stored == 32 or n == 1
    steps = () if exact else (stored, *folds(design.value("psum_group", layer), n))
    return (*operands, dataflow, steps)


@given(one=designs, other=designs)
def test_hashes_are_equal_exactly_where_the_same_is_computed(one: Design, other: Design) -> None:
    same = all(meaning(one, layer) == meaning(other, layer) for layer in LAYERS)

    assert (CANON.design(one).hash == CANON.design(other).hash) == same


@given(design=designs)
def test_the_canonical_design_computes_the_same_and_is_its_own(design: Design) -> None:
    form = CANON.design(design)

    assert [meaning(form, n) for n in LAYERS] == [meaning(design, n) for n in LAYERS]
    assert CANON.design(form) == form
    assert list(form.choices) == list(design.choices)


@pytest.mark.parametrize(
    ("choices", "layer", "kept"),
    [
        ({"w_granularity": {"a": "channel"}}, "a", False),
        ({"w_granularity": {"a": "channel"}, "w_bits": {"a": 16}}, "a", False),
        ({"w_granularity": {"a": "channel"}, "w_bits": {"a": 4}}, "a", True),
        ({"w_granularity": {"c": "channel"}, "w_bits": {"c": 4}}, "c", False),
        ({"act_quantizer": {"a": "absmax"}, "w_bits": {"a": 4}}, "a", False),
        ({"act_quantizer": {"a": "absmax"}, "a_bits": {"a": 8}}, "a", True),
        ({"a_symmetry": {"c": "asymmetric"}, "w_bits": {"c": 4}}, "c", True),
        ({"a_symmetry": {"c": "asymmetric"}, "w_bits": {"c": 16}}, "c", False),
    ],
)
def test_a_word_is_kept_where_a_width_gives_it_an_effect(
    choices: Choices, layer: str, kept: bool
) -> None:
    knob = next(iter(choices))
    given_value = choices[knob][layer]

    value = CANON.design(Design(choices)).value(knob, layer)

    assert value == (given_value if kept else KNOBS[knob].neutral)


def test_designs_without_such_knobs_stay_as_they_are() -> None:
    design = Design({"w_bits": dict.fromkeys(LAYERS, 16), "a_bits": dict.fromkeys(LAYERS, 2)})

    assert CANON.design(design) is design


@pytest.mark.parametrize("n", range(2, 65))
def test_the_smallest_group_takes_the_same_steps_and_no_listed_smaller_one_does(n: int) -> None:
    groups = KNOBS["psum_group"].choices
    for group in groups:
        smallest = smallest_group(group, n)

        same = [other for other in groups if folds(other, n) == folds(group, n)]
        assert smallest == same[0]


def test_the_last_sum_is_never_alive_beside_the_others() -> None:
    assert [alive_codes(g, 6) for g in KNOBS["psum_group"].choices] == [1, 2, 3, 4, 5]
    assert [alive_codes(g, 3) for g in KNOBS["psum_group"].choices] == [1, 2, 2, 2, 2]
    assert [alive_codes(g, 2) for g in KNOBS["psum_group"].choices] == [1, 1, 1, 1, 1]
