"""The figures are those of MOHAQ's public code and what follows from them."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.beacons import Policy, distance
from dse.design import Beacon, Design
from dse.errors import SpecError
from dse.spec import Beacons

LAYERS = ("L0", "P1", "L1", "P2", "L2", "P3", "L3", "FC")
WEIGHTS_ONLY = {"w_bits": 1.0}


def design(genome: str) -> Design:
    """Read MOHAQ's way of writing: W L0-3 / A L0-3 / W P1-3 / A P1-3 / W,A FC."""
    parts = [[int(v) for v in part.split(",")] for part in genome.split("/")]
    bits = {}
    for knob, (main, projections, last) in {"w_bits": (0, 2, 0), "a_bits": (1, 3, 1)}.items():
        bits[knob] = {
            **{f"L{i}": parts[main][i] for i in range(4)},
            **{f"P{i + 1}": parts[projections][i] for i in range(3)},
            "FC": parts[4][last],
        }
    return Design({knob: {layer: of[layer] for layer in LAYERS} for knob, of in bits.items()})


PAPER = {
    "base": design("16,16,16,16/16,16,16,16/16,16,16/16,16,16/16,16"),
    "152": design("4,2,4,2/16,4,8,2/4,2,2/2,2,16/2,8"),
    "156": design("16,2,2,2/16,2,2,2/2,2,2/2,2,4/2,8"),
    "192": design("2,2,2,2/16,8,16,2/8,8,2/2,2,8/2,16"),
    "199": design("8,2,2,2/16,8,16,2/8,8,2/2,2,8/2,16"),
    "X": design("4,2,2,2/16,2,2,2/2,2,2/4,4,4/2,4"),
}
DISTANCES = {
    "base": (0, 21, 21, 20, 18),
    "152": (21, 0, 4, 5, 5),
    "156": (21, 4, 0, 7, 5),
    "192": (20, 5, 7, 0, 2),
    "199": (18, 5, 5, 2, 0),
    "X": (23, 2, 2, 5, 5),
}


def policy(**changes: object) -> Policy:
    rules = Beacons.model_validate({"enabled": True, **changes})
    return Policy(rules=rules, float_error=16.0)


def beacon(number: int, at: Design, *, digest: str | None = "d") -> Beacon:
    return Beacon(number=number, design=at, generation=0, key=str(number), digest=digest)


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_are_the_papers(name: str) -> None:
    others = ("base", "152", "156", "192", "199")

    found = tuple(distance(PAPER[name], PAPER[other], WEIGHTS_ONLY) for other in others)

    assert found == DISTANCES[name]


designs = st.lists(st.sampled_from([2, 4, 8, 16]), min_size=16, max_size=16).map(
    lambda bits: Design(
        {
            "w_bits": dict(zip(LAYERS, bits[:8], strict=True)),
            "a_bits": dict(zip(LAYERS, bits[8:], strict=True)),
        }
    )
)


@given(designs, designs, designs)
def test_distance_is_a_metric_on_weights_and_blind_to_activations(
    a: Design, b: Design, c: Design
) -> None:
    ab = distance(a, b, WEIGHTS_ONLY)

    assert ab == distance(b, a, WEIGHTS_ONLY) >= 0
    assert (ab == 0) == (a.choices["w_bits"] == b.choices["w_bits"])
    assert ab <= distance(a, c, WEIGHTS_ONLY) + distance(c, b, WEIGHTS_ONLY)


@given(designs, designs)
def test_knobs_count_what_they_are_told_to(a: Design, b: Design) -> None:
    exponents = [
        sum(
            abs(math.log2(int(a.value(knob, layer))) - math.log2(int(b.value(knob, layer))))
            for layer in LAYERS
        )
        for knob in ("w_bits", "a_bits")
    ]

    assert distance(a, b, {"w_bits": 1.0, "a_bits": 0.5}) == exponents[0] + 0.5 * exponents[1]


def test_a_knob_left_out_stands_at_neutral() -> None:
    assert distance(Design({}), PAPER["152"], WEIGHTS_ONLY) == 21


@pytest.mark.parametrize(
    ("threshold", "made"),
    # docs/decisions/0005-beacons.md: 152 and 192 take a threshold of 4, not of 3
    [(5, ["152"]), (4, ["152", "192"]), (3, ["152", "156", "192"])],
)
def test_the_papers_sequence_makes_the_papers_beacons(threshold: int, made: list[str]) -> None:
    names = ["152", "156", "192", "199"]

    admitted = policy(distance=threshold).admit([PAPER[n] for n in names], [])

    assert admitted == [PAPER[n] for n in made]


def test_one_after_another_is_as_all_at_once() -> None:
    rules = policy(distance=3)
    standing: list[Beacon] = []
    for name in ("152", "156", "192", "199"):
        for admitted in rules.admit([PAPER[name]], standing):
            standing.append(beacon(len(standing) + 1, admitted))

    assert [b.design for b in standing] == [PAPER["152"], PAPER["156"], PAPER["192"]]


@given(st.lists(designs, max_size=12), st.integers(1, 5), st.integers(0, 4))
def test_never_more_beacons_than_allowed_and_none_in_reach_of_another(
    candidates: list[Design], most: int, threshold: int
) -> None:
    rules = policy(max_beacons=most, distance=threshold)

    admitted = rules.admit(candidates, [])

    assert len(admitted) <= most
    pairs = [(a, b) for i, a in enumerate(admitted) for b in admitted[:i]]
    assert all(rules.between(a, b) > threshold for a, b in pairs)


def test_failed_beacons_count_towards_the_number_but_reach_nobody() -> None:
    failed = [beacon(i, PAPER["152"], digest=None) for i in (1, 2, 3)]
    rules = policy(max_beacons=4)

    assert rules.admit([PAPER["152"], PAPER["base"]], failed) == [PAPER["152"]]
    assert rules.admit([PAPER["152"]], [*failed, failed[0]]) == []
    assert rules.nearest(PAPER["152"], failed) == []


def test_the_nearest_beacon_wins_and_of_equals_the_earliest() -> None:
    beacons = [beacon(i, PAPER[n]) for i, n in enumerate(("192", "152", "156"), start=1)]

    near = policy().nearest(PAPER["X"], beacons)

    assert [(one.beacon.number, one.distance) for one in near] == [(2, 2.0)]


def test_several_neighbours_come_nearest_first() -> None:
    beacons = [beacon(i, PAPER[n]) for i, n in enumerate(("192", "152", "156", "base"), start=1)]

    near = policy(neighbours=3).nearest(PAPER["X"], beacons)

    assert [(one.beacon.number, one.distance) for one in near] == [(2, 2.0), (3, 2.0), (1, 5.0)]


def test_the_nearest_serves_however_far_it_is() -> None:
    beacons = [beacon(1, PAPER["152"]), beacon(2, PAPER["192"], digest=None)]

    far = policy().nearest(PAPER["base"], beacons)

    assert [(one.beacon.number, one.distance) for one in far] == [(1, 21.0)]


def test_the_window_is_strict_at_both_ends_and_counts_from_the_float_error() -> None:
    rules = policy(window=[3, 14])
    errors = (18.9, 19.0, 19.1, 29.9, 30.0, 30.1)

    assert [rules.uses_beacons({}, e) for e in errors] == [False, False, True, True, True, True]
    assert [rules.eligible({}, e) for e in errors] == [False, False, True, True, False, False]


def test_gates_are_strict_and_all_must_pass() -> None:
    rules = policy(gates={"speedup": {"min": 20}, "memory_mib": {"max": 2}})

    passing = [
        (s, m)
        for s, m in product((19.9, 20.0, 20.1), (1.9, 2.0, 2.1))
        if rules.uses_beacons({"speedup": s, "memory_mib": m}, 25.0)
    ]

    assert passing == [(20.1, 1.9)]


def test_generations_that_make_beacons_lie_apart() -> None:
    rules, standing = policy(spacing=5), [beacon(1, PAPER["152"])]

    assert [g for g in range(8) if rules.open(g, standing)] == [5, 6, 7]
    assert rules.open(0, [])


def test_no_generation_makes_beacons_once_there_are_as_many_as_allowed() -> None:
    standing = [beacon(i, PAPER["152"], digest=None) for i in (1, 2)]

    assert policy(max_beacons=3).open(9, standing)
    assert not policy(max_beacons=2).open(9, standing)


def test_a_generation_makes_no_more_than_it_may_at_once() -> None:
    candidates = [PAPER[n] for n in ("152", "156", "192")]

    assert policy(distance=3, at_once=2).admit(candidates, []) == candidates[:2]


def test_words_have_no_distance() -> None:
    word = Design({"act_quantizer": {"L0": "absmax"}})

    assert distance(word, Design({}), WEIGHTS_ONLY) == 0
    with pytest.raises(SpecError, match="numbers have a distance, got act_quantizer=absmax"):
        distance(word, Design({}), {"act_quantizer": 1.0})
