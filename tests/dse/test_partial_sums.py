"""Knobs of partial sums, and one choice for a whole design, from the spec to the design."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse import baselines
from dse.design import Choices, Design, Value
from dse.errors import SpecError
from dse.knobs import KNOBS
from dse.optimizers.batch import none_idle
from dse.optimizers.nsga2 import Nsga2
from dse.ports import Role
from dse.problem import Problem
from tests.dse.test_baselines import FLOAT, Recorder
from tests.dse.test_search import run, small
from tests.fakes import LAYERS, FakePool, fake_problem
from tests.memory_store import MemoryStore

WIDTHS = [{"knob": "w_bits", "choices": [8]}, {"knob": "a_bits", "choices": [8]}]
BITS = {"knob": "psum_bits", "choices": [8, 32], "tie": "all"}
GROUP = {"knob": "psum_group", "choices": [2, 4, "all"]}
FLOW = {"knob": "dataflow", "choices": ["is", "os"]}
WHOLE: dict[str, Any] = {"constraints": [], "reference_point": {"error": 60.0, "speedup": 0.1}}


def problem(*knobs: dict[str, Any]) -> Problem:
    lines = [*WIDTHS, *knobs]
    return fake_problem(platforms=[{"name": "sum-chip"}], knobs=lines, **WHOLE)


SPACE = problem(BITS, GROUP, FLOW).space
GENOMES = st.tuples(*(st.integers(0, n - 1) for n in SPACE.cardinalities))


def at(design: Design, knob: str) -> list[Value]:
    return [design.value(knob, layer) for layer in LAYERS]


def test_a_choice_of_the_whole_design_is_one_gene() -> None:
    names = {gene.name: gene.choices for gene in SPACE.genes}

    assert names["dataflow"] == ("is", "os")


def test_groups_that_take_the_same_steps_in_every_design_are_no_gene() -> None:
    genes = [gene.name for gene in SPACE.genes]
    wide = problem(BITS, {"knob": "psum_group", "choices": [1, 2, "all"]}).space

    # groups of 2 and more take the same steps over three sums
    assert genes == ["psum_bits@in=psum_bits@mid=psum_bits@out", "dataflow"]
    assert [gene.name for gene in wide.genes][1:] == ["psum_group@out"]


@given(genome=GENOMES)
def test_the_genome_of_a_design_gives_that_design(genome: tuple[int, ...]) -> None:
    design = SPACE.decode(genome)

    encoded = SPACE.encode(design)

    assert encoded is not None
    assert SPACE.decode(encoded) == design


def test_every_design_is_stated_with_its_smallest_group_and_no_idle_width() -> None:
    designs = [SPACE.decode(genome) for genome in product((0, 1), repeat=2)]

    told = [(at(d, "dataflow")[0], at(d, "psum_bits"), at(d, "psum_group")) for d in designs]
    assert told == [
        ("is", [32, 8, 8], [1, 1, 2]),
        ("os", [32, 32, 32], [1, 1, 1]),
        ("is", [32, 32, 32], [1, 1, 1]),
        ("os", [32, 32, 32], [1, 1, 1]),
    ]


def test_designs_with_one_form_have_one_canonical_genome() -> None:
    genomes = np.asarray(list(product((0, 1), repeat=2)))

    forms = [tuple(row) for row in SPACE.canonical(genomes).tolist()]

    hashes = [SPACE.decode(genome).hash for genome in genomes]
    assert len(set(forms)) == len(set(hashes)) == 3
    for one, other in product(range(4), repeat=2):
        assert (forms[one] == forms[other]) == (hashes[one] == hashes[other])


MANY = fake_problem(
    platforms=[{"name": "sum-chip"}],
    knobs=[
        {"knob": "w_bits", "choices": [8, 16]},
        {"knob": "a_bits", "choices": [8, 16]},
        {**BITS, "tie": "none"},
        {"knob": "psum_group", "choices": [1, 2, "all"]},
        FLOW,
    ],
    **WHOLE,
).space


@given(data=st.data())
def test_idle_genes_are_those_that_can_be_anything(data: st.DataObject) -> None:
    drawn = data.draw(st.tuples(*(st.integers(0, n - 1) for n in MANY.cardinalities)))
    genome = np.asarray(drawn)
    (idle,) = MANY.idle(genome[None])
    design = MANY.decode(genome)

    for i, choices in enumerate(MANY.cardinalities):
        moved = [np.where(np.arange(len(genome)) == i, value, genome) for value in range(choices)]
        assert idle[i] == all(MANY.decode(one) == design for one in moved)
    other = data.draw(st.tuples(*(st.integers(0, n - 1) for n in MANY.cardinalities)))
    assert MANY.decode(np.where(idle, other, genome)) == design


def test_a_gene_that_comes_to_have_an_effect_is_tried_at_every_choice() -> None:
    """Partial sums open whole in every design, so groups are idle until sums are narrowed."""
    whole = np.asarray([MANY.encode(MANY.decode([0] * len(MANY.genes)))])
    bits = [i for i, gene in enumerate(MANY.genes) if gene.name.startswith("psum_bits")]
    whole[:, bits] = 1
    groups = [i for i, gene in enumerate(MANY.genes) if gene.name.startswith("psum_group")]
    assert MANY.idle(whole)[0, groups].all()
    tried = {"stirred": 0, "neutral": 0}
    for name, idle in (("stirred", MANY.idle), ("neutral", none_idle)):
        for seed in range(6):
            search = Nsga2(
                MANY.cardinalities,
                population=2,
                offspring=20,
                seed=seed,
                first=whole,
                canonical=MANY.canonical,
                idle=idle,
            )
            search.ask()
            search.tell(whole, np.zeros((1, 2)), np.zeros(1))
            tried[name] += int((search.ask()[:, groups] > 0).sum())

    assert tried["stirred"] > 2 * tried["neutral"]


def test_sixteen_bit_operands_leave_nothing_to_the_partial_sums() -> None:
    lines = [{"knob": "w_bits", "choices": [8, 16]}, BITS]
    space = fake_problem(platforms=[{"name": "sum-chip"}], knobs=lines, **WHOLE).space

    # a_bits stand at 16: the width of a partial sum has no effect, so it is no gene
    assert {knob for gene in space.genes for knob, _ in gene.targets} == {"w_bits"}


def test_partial_sums_of_a_platform_without_any_are_refused() -> None:
    with pytest.raises(SpecError, match="knob 'psum_bits' has no effect: none of the platforms"):
        fake_problem(knobs=[*WIDTHS, BITS], **WHOLE)


def test_a_choice_of_the_whole_design_cannot_be_given_to_some_layers() -> None:
    with pytest.raises(SpecError, match="dataflow is one choice .* must be '.', got 'mid'"):
        problem({**FLOW, "layers": "mid"})


def test_a_word_among_numbers_has_a_place_but_no_measure() -> None:
    group, bits, flow = (KNOBS[name] for name in ("psum_group", "psum_bits", "dataflow"))

    assert (group.ordered, group.numeric) == (True, False)
    assert (bits.ordered, bits.numeric) == (True, True)
    assert (flow.ordered, flow.numeric) == (False, False)


def test_repair_takes_the_next_larger_group_and_the_word_as_the_largest() -> None:
    lines = [BITS, {"knob": "psum_group", "choices": [1, 2]}]
    space = problem(*lines).space
    wanted: Choices = {
        "psum_bits": dict.fromkeys(LAYERS, 8),
        "psum_group": dict.fromkeys(LAYERS, "all"),
    }

    assert at(space.repair(Design(wanted)), "psum_group") == [1, 1, 2]


def test_beacons_have_no_distance_between_groups() -> None:
    beacons = {"enabled": True, "knob_weights": {"psum_group": 1}}
    with pytest.raises(SpecError, match="numbers: .*psum_bits; got 'psum_group'"):
        fake_problem(
            platforms=[{"name": "sum-chip"}], knobs=[*WIDTHS, BITS], beacons=beacons, **WHOLE
        )


def test_uniform_baselines_keep_sums_as_exact_as_the_choices_allow() -> None:
    [(_, found)] = baselines.uniform(problem({**BITS, "choices": [4, 8]}, GROUP, FLOW))

    assert at(found, "psum_bits") == [32, 8, 8]
    assert at(found, "psum_group") == [1, 1, 2]
    assert at(found, "dataflow") == ["is"] * 3


@pytest.mark.parametrize("algorithm", ["nsga2", "random"])
def test_every_design_is_run_once_until_there_are_no_more(algorithm: str) -> None:
    lines = [
        {"knob": "w_bits", "choices": [8, 16]},
        *WIDTHS[1:],
        {"knob": "psum_bits", "choices": [8, 32]},
        {"knob": "psum_group", "choices": [1, 4, "all"], "tie": "all"},
        FLOW,
    ]
    platforms = [{"name": "sum-chip"}]
    settings = small(algorithm=algorithm, population=40, offspring=20, generations=20)
    store = MemoryStore()

    run(store, FakePool(), platforms=platforms, knobs=lines, search=settings, **WHOLE)

    designs = [
        p.design
        for (role, _), proposals in store.proposals.items()
        if role is Role.SEARCH
        for p in proposals
    ]
    space = fake_problem(platforms=platforms, knobs=lines, **WHOLE).space
    genomes = product(*(range(n) for n in space.cardinalities))
    assert len(designs) == len({d.hash for d in designs})
    assert {d.hash for d in designs} == {space.decode(genome).hash for genome in genomes}
    assert store.notes[-1] == "search.exhausted"


def test_greedy_narrows_partial_sums_from_the_largest_group() -> None:
    whole = problem(BITS, {"knob": "psum_group", "choices": [1, 2]})
    recorder = Recorder(whole)

    baselines.greedy(whole, FLOAT, recorder)

    groups = [at(d, "psum_group")[2] for d in recorder.steps() if d.value("psum_bits", "out") == 8]
    assert groups[0] == 2
