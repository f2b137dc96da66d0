import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.canonical import canonical
from dse.design import Choices, Design, Value
from dse.knobs import KNOBS

LAYERS = ("a", "b", "c")
DYNAMIC = frozenset({"c"})

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
    return tuple(operands)


@given(one=designs, other=designs)
def test_hashes_are_equal_exactly_where_the_same_is_computed(one: Design, other: Design) -> None:
    same = all(meaning(one, layer) == meaning(other, layer) for layer in LAYERS)

    assert (canonical(one, DYNAMIC).hash == canonical(other, DYNAMIC).hash) == same


@given(design=designs)
def test_the_canonical_design_computes_the_same_and_is_its_own(design: Design) -> None:
    form = canonical(design, DYNAMIC)

    assert [meaning(form, n) for n in LAYERS] == [meaning(design, n) for n in LAYERS]
    assert canonical(form, DYNAMIC) == form
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

    value = canonical(Design(choices), DYNAMIC).value(knob, layer)

    assert value == (given_value if kept else KNOBS[knob].neutral)


def test_designs_without_such_knobs_stay_as_they_are() -> None:
    design = Design({"w_bits": dict.fromkeys(LAYERS, 16), "a_bits": dict.fromkeys(LAYERS, 2)})

    assert canonical(design, DYNAMIC) is design
