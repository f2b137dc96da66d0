"""Knobs of words, and designs that several genomes describe, from the spec to the front."""

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse import baselines
from dse.design import Design
from dse.ports import Role
from dse.tasks import Outcome
from tests.dse.test_baselines import FLOAT, Recorder
from tests.dse.test_search import run, small
from tests.fakes import FakePool, fake_problem
from tests.memory_store import MemoryStore

KNOBS = [
    {"knob": "w_bits", "choices": [4, 16]},
    {"knob": "w_bits", "layers": "mid", "choices": [16]},
    {"knob": "a_bits", "choices": [8, 16]},
    {"knob": "act_quantizer", "layers": "@first", "choices": ["percentile", "absmax"]},
    {"knob": "w_granularity", "choices": ["channel", "tensor"], "tie": "all"},
    {"knob": "a_symmetry", "layers": "@last", "choices": ["asymmetric", "symmetric"]},
]
SPACE = fake_problem(knobs=KNOBS, constraints=[]).space
ALL = np.asarray(list(product(*(range(n) for n in SPACE.cardinalities))))
GENOMES = st.tuples(*(st.integers(0, n - 1) for n in SPACE.cardinalities))
N_DESIGNS = len({SPACE.decode(genome).hash for genome in ALL})


def words(**changes: object) -> dict[str, Any]:  # fields of a spec
    plain: dict[str, Any] = {
        "knobs": KNOBS,
        "constraints": [],
        "reference_point": {"error": 60.0, "speedup": 0.1},
    }
    return {**plain, **changes}


def searched(store: MemoryStore) -> list[Design]:
    return [
        p.design
        for (role, _), proposals in store.proposals.items()
        if role is Role.SEARCH
        for p in proposals
    ]


def test_some_designs_have_several_genomes() -> None:
    # w_bits and granularity of two layers, a_bits of mid, a_bits and quantizer, symmetry
    assert N_DESIGNS == (1 + 3 * 2) * 2 * (1 + 2) * (1 + 2)
    assert SPACE.size == len(ALL) == 2**8


@given(genome=GENOMES)
def test_the_genome_of_a_design_gives_that_design(genome: tuple[int, ...]) -> None:
    design = SPACE.decode(genome)

    encoded = SPACE.encode(design)

    assert encoded is not None
    assert SPACE.decode(encoded) == design
    assert SPACE.encode(SPACE.decode(encoded)) == encoded


@given(one=GENOMES, other=GENOMES)
def test_canonical_genomes_are_equal_exactly_where_their_designs_are(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    first, second = SPACE.canonical(np.asarray([one, other])).tolist()

    assert (first == second) == (SPACE.decode(one).hash == SPACE.decode(other).hash)


def test_genomes_of_a_space_without_such_knobs_stay_as_they_are() -> None:
    genomes = np.zeros((3, 6), dtype=np.int64)

    assert fake_problem().space.canonical(genomes) is genomes
    assert SPACE.canonical(genomes[:0, :0].reshape(0, len(SPACE.genes))).shape == (0, 8)


def test_a_design_that_chooses_what_the_space_does_not_has_no_genome() -> None:
    inside = SPACE.decode([0] * len(SPACE.genes))
    word = {"in": "absmax", "mid": "absmax", "out": "mmse"}

    assert SPACE.encode(Design({**inside.choices, "act_quantizer": word})) is None
    narrow = fake_problem().space
    assert narrow.encode(Design({**narrow.decode([1] * 6).choices, "a_symmetry": word})) is None


def test_choices_stand_in_the_order_of_the_catalogue() -> None:
    by_name = {gene.name: gene for gene in SPACE.genes}

    assert by_name["act_quantizer@in"].choices == ("absmax", "percentile")
    assert by_name["a_symmetry@out"].choices == ("symmetric", "asymmetric")


@pytest.mark.parametrize("algorithm", ["nsga2", "random", "optuna-nsga2"])
def test_every_design_is_run_once_until_there_are_no_more(algorithm: str) -> None:
    if algorithm.startswith("optuna"):
        pytest.importorskip("optuna")
    settings = small(algorithm=algorithm, population=40, offspring=20, generations=20)
    pool, store = FakePool(), MemoryStore()

    run(store, pool, **words(search=settings))

    counts = Counter(design.hash for design in searched(store))
    assert set(counts.values()) == {1}
    assert len(counts) == N_DESIGNS
    assert store.notes[-1] == "search.exhausted"
    assert set(Counter(request.key for request in pool.ran).values()) == {1}


@pytest.mark.parametrize("after", [0, 30, 45, 55, 70])
@pytest.mark.parametrize("algorithm", ["nsga2", "random"])
def test_a_search_of_words_with_beacons_resumes_exactly(algorithm: str, after: int) -> None:
    class Dying(FakePool):
        def poll(self, timeout_s: float) -> list[Outcome]:
            if len(self.ran) >= after:
                raise KeyboardInterrupt
            return super().poll(timeout_s)

    beacons = {"enabled": True, "window": [0.1, 60.0], "distance": 1.0, "max_beacons": 3}
    changes = words(search=small(algorithm=algorithm), beacons=beacons)
    undisturbed = run(MemoryStore(), **changes)
    store = MemoryStore()
    with pytest.raises(KeyboardInterrupt):
        run(store, Dying(), **changes)

    run(store, **changes)

    assert undisturbed.made
    assert store.results() == undisturbed.results()


def test_seeded_baselines_are_in_the_first_generation() -> None:
    settings = small(seed_designs=["uniform", "greedy"])

    store = run(MemoryStore(), **words(search=settings))

    found = {d.hash for d in searched(store)}
    best = [e for e in store.concluded[Role.BASELINE, 0] if e.feasible]
    assert {e.design.hash for e in best} & found


def test_uniform_designs_leave_words_at_their_default_or_first_choice() -> None:
    problem = fake_problem(**words())

    designs = dict(baselines.uniform(problem))

    assert designs["uniform w4a4"].to_json() == {
        "w_bits": {"in": 4, "mid": 16, "out": 4},
        "a_bits": dict.fromkeys(("in", "mid", "out"), 8),
        "act_quantizer": {"in": "absmax", "mid": "mmse", "out": "mmse"},
        "w_granularity": dict.fromkeys(("in", "mid", "out"), "tensor"),
        "a_symmetry": dict.fromkeys(("in", "mid", "out"), "symmetric"),
    }


def test_greedy_lowers_numbers_alone() -> None:
    problem = fake_problem(**words())
    recorder = Recorder(problem)

    baselines.greedy(problem, FLOAT, recorder)

    last = recorder.steps()[-1]
    assert last.choices["w_bits"] == {"in": 4, "mid": 16, "out": 4}
    assert last.choices["act_quantizer"] == {"in": "absmax", "mid": "mmse", "out": "mmse"}
    assert set(last.choices["w_granularity"].values()) == {"tensor"}


def test_greedy_copes_with_nothing_but_words() -> None:
    knobs = [
        {"knob": "a_bits", "choices": [8]},
        {"knob": "act_quantizer", "choices": ["mmse", "absmax"]},
    ]
    recorder = Recorder(problem := fake_problem(knobs=knobs, constraints=[]))

    baselines.greedy(problem, FLOAT, recorder)

    [start] = recorder.steps()
    assert set(start.choices["act_quantizer"].values()) == {"mmse"}
