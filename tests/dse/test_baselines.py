from collections.abc import Sequence

import pytest

from dse import baselines
from dse.design import Design, Evaluation
from dse.problem import Problem
from tests.fakes import LAYERS, fake_error, fake_problem

FLOAT = {"error": 10.0, "frame_error": 5.0}


class Recorder:
    def __init__(self, problem: Problem, *, broken: bool = False) -> None:
        self.problem = problem
        self.broken = broken
        self.seen: list[tuple[str, Design]] = []

    def __call__(self, named: Sequence[tuple[str, Design]]) -> list[Evaluation]:
        self.seen += named
        return [self._evaluate(design) for _, design in named]

    def _evaluate(self, design: Design) -> Evaluation:
        metrics = self.problem.costs([design])[0]
        if self.broken:
            return Evaluation(design=design, metrics=metrics, feasible=False, violation=1.0)
        metrics = {"error": fake_error(design.choices), **metrics}
        return Evaluation(design=design, metrics=metrics, feasible=True, origin="base")

    def steps(self) -> list[Design]:
        return [design for label, design in self.seen if label.startswith("greedy")]


def labels(problem: Problem) -> list[str]:
    return [label for label, _ in baselines.uniform(problem)]


def test_uniform_widths_that_the_platform_does_not_take_are_left_out() -> None:
    assert labels(fake_problem()) == [
        f"uniform {widths}" for widths in ("w16a16", "w8a8", "w4a4", "w2a2", "w2a4", "w4a8")
    ]


def test_uniform_widths_obey_ties_of_the_platform() -> None:
    knobs = [{"knob": "w_bits", "choices": [4, 8, 16]}]
    problem = fake_problem(platforms=[{"name": "tied-chip"}], knobs=knobs, constraints=[])

    assert labels(problem) == ["uniform w16a16", "uniform w8a8", "uniform w4a4"]


def test_uniform_widths_below_the_lowest_choice_are_raised() -> None:
    designs = dict(baselines.uniform(fake_problem()))

    assert designs["uniform w2a2"].to_json()["a_bits"] == {"in": 2, "mid": 2, "out": 4}


def test_greedy_descends_to_the_narrowest_design_when_nothing_forbids() -> None:
    problem = fake_problem(constraints=[])
    recorder = Recorder(problem)

    baselines.greedy(problem, FLOAT, recorder)

    narrowest = problem.space.decode([0] * 6)
    assert recorder.steps()[-1] == narrowest
    assert len(recorder.seen) == 1 + 17 + 17


def test_greedy_lowers_the_least_harmful_gene_first() -> None:
    problem = fake_problem(
        constraints=[], objectives=["error", "memory_mib"], reference_point=None
    )
    recorder = Recorder(problem)

    baselines.greedy(problem, FLOAT, recorder)

    # memory gains: in < mid < out, damage is nearly the same at 8 bits
    assert recorder.steps()[1].to_json()["w_bits"] == {"in": 16, "mid": 16, "out": 8}


def test_greedy_keeps_to_the_error_constraint() -> None:
    problem = fake_problem(constraints=[{"metric": "error", "max_increase": 5.0}])
    recorder = Recorder(problem)

    baselines.greedy(problem, FLOAT, recorder)

    kept = [d for d in recorder.steps() if fake_error(d.choices) <= 15.0]
    refused = [d for d in recorder.steps() if fake_error(d.choices) > 15.0]
    assert refused
    assert len(kept) > len(refused)


@pytest.mark.parametrize("broken", [False, True])
def test_greedy_never_runs_more_than_its_budget(broken: bool) -> None:
    knobs = [{"knob": knob, "choices": [2, 4, 8, 16]} for knob in ("w_bits", "a_bits")]
    problem = fake_problem(knobs=knobs, constraints=[])
    recorder = Recorder(problem, broken=broken)

    baselines.greedy(problem, FLOAT, recorder)

    assert len(recorder.seen) <= baselines.GREEDY_BUDGET
    assert len({d.hash for d in recorder.steps()}) == len(recorder.steps())


def test_many_genes_move_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "GREEDY_BUDGET", 14)
    problem = fake_problem(constraints=[])
    recorder = Recorder(problem)

    baselines.greedy(problem, FLOAT, recorder)

    assert len(recorder.seen) <= 14
    assert recorder.steps()[-1] == problem.space.decode([0] * 6)
    assert set(recorder.steps()[0].choices["w_bits"]) == set(LAYERS)
