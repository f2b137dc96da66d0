import pytest

from dse.catalogue import check, check_runnable
from dse.errors import SpecError, UnknownNameError
from tests.fakes import FakeCatalogue, FakeWorkload, fake_problem, fake_spec

W = {"knob": "w_bits", "choices": [4, 8]}


def test_later_lines_win_and_single_choices_are_no_genes() -> None:
    problem = fake_problem(
        knobs=[W, {"knob": "w_bits", "layers": "m*", "choices": [8]}, {**W, "layers": "out"}]
    )

    space = problem.space
    assert [gene.name for gene in space.genes] == ["w_bits@in", "w_bits@out"]
    assert space.fixed["w_bits", "mid"] == 8
    assert space.fixed["a_bits", "in"] == 16
    assert space.size == 4


def test_the_first_and_the_last_layer_have_names_of_their_own() -> None:
    ends = [{**W, "layers": end, "choices": [16]} for end in ("@first", "@last")]

    space = fake_problem(knobs=[W, *ends]).space

    assert [gene.name for gene in space.genes] == ["w_bits@mid"]
    assert space.fixed["w_bits", "in"] == space.fixed["w_bits", "out"] == 16


def test_layers_without_a_line_stand_at_the_default_of_the_workload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defaults = {"a_bits": 8, "act_quantizer": "absmax"}
    monkeypatch.setattr(FakeWorkload, "defaults", defaults)
    line = {"knob": "act_quantizer", "layers": "mid", "choices": ["percentile"]}

    space = fake_problem(knobs=[W, line]).space

    assert space.knobs == ("w_bits", "a_bits", "act_quantizer")
    assert {space.fixed["a_bits", layer] for layer in space.layers} == {8}
    design = space.decode([0, 0, 0])
    assert dict(design.choices["act_quantizer"]) == {
        "in": "absmax",
        "mid": "percentile",
        "out": "absmax",
    }


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ({"bits": 8}, "unknown knob in the defaults of workload 'fake' 'bits'; allowed: w_bits"),
        ({"a_bits": 9}, "a_bits in the defaults of workload 'fake' must be one of .2, .*got 9"),
        ({"a_bits": 3}, "default of a_bits in workload 'fake': fake-chip takes .2, .*got .3."),
    ],
)
def test_defaults_that_cannot_be_taken_are_refused(
    defaults: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeWorkload, "defaults", defaults)

    with pytest.raises((SpecError, UnknownNameError), match=message):
        fake_problem(knobs=[W])


def test_tied_knobs_with_different_defaults_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeWorkload, "defaults", {"a_bits": 8})
    platforms = [{"name": "tied-chip"}]
    line = {**W, "layers": "in"}

    with pytest.raises(SpecError, match="w_bits@mid=a_bits@mid share .* workload 'fake' differ"):
        fake_problem(knobs=[line], platforms=platforms, constraints=[])


def test_designs_state_no_knob_that_is_neutral_throughout() -> None:
    space = fake_problem(knobs=[W, {"knob": "a_symmetry", "choices": ["symmetric"]}]).space

    assert space.knobs == ("w_bits", "a_bits")


def test_a_gene_without_effect_in_any_design_is_none() -> None:
    knobs = [
        {"knob": "w_bits", "layers": "in", "choices": [4, 8]},
        {"knob": "w_granularity", "choices": ["tensor", "channel"]},
    ]

    space = fake_problem(knobs=knobs).space

    assert [gene.name for gene in space.genes] == ["w_bits@in", "w_granularity@in"]
    assert space.fixed["w_granularity", "mid"] == "tensor"


def test_tie_all_shares_one_gene_over_layers() -> None:
    [gene] = fake_problem(knobs=[{**W, "tie": "all"}]).space.genes

    assert gene.targets == (("w_bits", "in"), ("w_bits", "mid"), ("w_bits", "out"))


def test_tie_to_a_knob_shares_its_gene_at_each_layer() -> None:
    knobs = [W, {"knob": "a_bits", "choices": [8, 16], "tie": "w_bits", "layers": "in"}]

    with pytest.raises(SpecError, match="leave a single design"):
        fake_problem(knobs=[{**W, "layers": "in"}, knobs[1]])
    space = fake_problem(knobs=knobs).space
    assert space.fixed["w_bits", "in"] == space.fixed["a_bits", "in"] == 8


def test_a_tie_by_name_joins_layers_of_several_lines() -> None:
    knobs = [{**W, "layers": "in", "tie": "ends"}, {**W, "layers": "out", "tie": "ends"}]

    [gene] = fake_problem(knobs=knobs).space.genes

    assert gene.targets == (("w_bits", "in"), ("w_bits", "out"))


def test_ties_of_the_platform_hold_without_being_asked_for() -> None:
    problem = fake_problem(knobs=[W], platforms=[{"name": "tied-chip"}], constraints=[])

    assert [gene.targets for gene in problem.space.genes] == [
        (("w_bits", layer), ("a_bits", layer)) for layer in ("in", "mid", "out")
    ]


def test_tied_genes_without_a_common_choice_are_refused() -> None:
    knobs = [{"knob": "w_bits", "choices": [4]}, {"knob": "a_bits", "choices": [8]}]

    with pytest.raises(SpecError, match="no choice in common: w_bits@in .4,., a_bits@in .8,."):
        fake_problem(knobs=knobs, platforms=[{"name": "tied-chip"}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workload": {"name": "nope"}}, "unknown workload 'nope'; allowed: fake, fake-shape"),
        ({"platforms": [{"name": "nope"}]}, "unknown platform 'nope'; allowed: fake-chip"),
        ({"knobs": [{"knob": "z", "choices": [2]}]}, "unknown knob 'z'; allowed: w_bits, a_bits"),
        ({"objectives": ["error", "z"], "reference_point": None}, "unknown metric 'z'; allowed"),
        ({"constraints": [{"metric": "z", "max": 1}]}, "unknown metric 'z'; allowed: error"),
        ({"totals": {"z": ["fake-chip.speedup"]}}, "unknown metric 'z'"),
        ({"totals": {"speedup": ["a.b"]}}, "unknown part of total 'speedup' 'a.b'; allowed: fake"),
    ],
)
def test_unknown_names_are_told_with_the_known_ones(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        check(fake_spec(**changes), FakeCatalogue())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workload": {"name": "fake-shape"}}, "shape without data"),
        ({"knobs": [{**W, "layers": "L9*"}]}, "'L9.' of knob 'w_bits' matches no layer; allowed"),
        ({"knobs": [{**W, "choices": [9]}]}, "the catalogue takes .*got .9."),
        (
            {"knobs": [{"knob": "act_quantizer", "choices": ["mmse", "max"]}]},
            "catalogue takes .'mmse', 'absmax', 'percentile'., got .'max'.",
        ),
        ({"knobs": [{"knob": "w_bits", "choices": ["4", 8]}]}, "catalogue takes .*got .'4'."),
        (
            {"search": {"baselines": []}, "reference_point": None},
            "reference_point must be given if search.baselines is empty.*'error', 'speedup'",
        ),
        (
            {"knobs": [{"knob": "w_granularity", "choices": ["tensor", "channel"]}]},
            "leave a single design",
        ),
        ({"knobs": [{**W, "choices": [3, 4]}]}, "fake-chip takes .2, 4, 8, 16., got .3."),
        (
            {"objectives": ["error", "energy_uj"], "reference_point": None},
            "nothing yields metric 'energy_uj'.*allowed: error, frame_error, memory_mib, speedup",
        ),
        (
            {"constraints": [{"metric": "speedup", "max_increase": 1}]},
            "max_increase counts from the unquantized network",
        ),
        (
            {"platforms": [{"name": "fake-chip"}, {"name": "tied-chip"}], "knobs": [W]},
            "'speedup' comes from several platforms: add totals",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check(fake_spec(**changes), FakeCatalogue())


@pytest.mark.parametrize(
    ("beacons", "message", "at"),
    [
        (
            {"knob_weights": {"a_symmetry": 1}},
            "numbers: w_bits, a_bits; got 'a_symmetry', .*words: symmetric, asymmetric",
            ("knob_weights", "a_symmetry"),
        ),
        (
            {"knob_weights": {"w_bits": 1, "psum_bits": 1}},
            "'psum_bits' in .* has no effect: .*'fake-chip'.* honours it; allowed: w_bits, a_bits",
            ("knob_weights", "psum_bits"),
        ),
        (
            {"learn_exponents": True},
            "learn_exponents has no effect: .*'fake-chip'.*partial sums.*allowed: false",
            ("learn_exponents",),
        ),
        (
            {"gates": {"speedup": {"min": 3, "max": 3}}},
            "no speedup is more than 3.0 and less than 3.0; allowed: min < max",
            ("gates", "speedup"),
        ),
        ({"gates": {"error": {"min": 3}}}, "takes costs, .*got 'error'", ("gates", "error")),
        ({"prefer": "error"}, "one of the costs .*got 'error'", ("prefer",)),
    ],
)
def test_beacons_that_cannot_be_or_have_no_effect_are_refused(
    beacons: dict[str, object], message: str, at: tuple[str, ...]
) -> None:
    spec = fake_spec(knobs=[W], beacons={"enabled": True, **beacons})

    with pytest.raises(SpecError, match=message) as refused:
        check(spec, FakeCatalogue())
    assert refused.value.at == ("beacons", *at)


def test_beacons_of_a_search_that_looks_at_no_measured_metric_are_refused() -> None:
    spec = fake_spec(
        knobs=[W],
        objectives=["speedup", "memory_mib"],
        reference_point=None,
        constraints=[{"metric": "memory_mib", "max": 1}],
        beacons={"enabled": True},
    )

    with pytest.raises(SpecError, match="no effect: no objective .*error, frame_error; got"):
        check(spec, FakeCatalogue())


def test_beacons_of_an_accelerator_that_stores_sums_may_count_and_learn_them() -> None:
    rules = {"enabled": True, "knob_weights": {"psum_bits": 1}, "learn_exponents": True}

    check(fake_spec(platforms=[{"name": "sum-chip"}], beacons=rules), FakeCatalogue())


def test_a_knob_that_nothing_honours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCatalogue, "evaluator_knobs", ())
    monkeypatch.setattr("tests.fakes.FakePlatform.knobs", {"w_bits": (4, 8)})

    with pytest.raises(SpecError, match="'a_bits' has no effect.*allowed: .'w_bits'."):
        fake_problem(knobs=[W, {"knob": "a_bits", "choices": [4, 8]}])


def test_totals_add_up_what_several_platforms_yield() -> None:
    problem = fake_problem(
        platforms=[{"name": "fake-chip"}, {"name": "tied-chip"}],
        knobs=[W],
        totals={
            "memory_mib": ["fake-chip.memory_mib", "tied-chip.memory_mib"],
            "speedup": ["tied-chip.speedup"],
        },
        constraints=[],
    )

    design = problem.space.decode([0, 0, 0])
    [costs] = problem.costs([design])
    [alone] = fake_problem(knobs=[W]).costs([design])
    assert costs["memory_mib"] == 2 * alone["memory_mib"]
    assert costs["speedup"] == alone["speedup"]


def test_two_platforms_may_not_both_decide_the_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    design = fake_problem().space.decode([0] * 6)
    ruled = fake_problem(platforms=[{"name": "ruled-chip"}])
    assert ruled.arithmetic(design) == {n: {"tile": 8} for n in ("in", "mid", "out")}

    monkeypatch.setattr("tests.fakes.TiedPlatform.rules", {"tile": 4})
    both = fake_problem(
        platforms=[{"name": "ruled-chip"}, {"name": "tied-chip"}],
        knobs=[W],
        totals={"memory_mib": ["ruled-chip.memory_mib"], "speedup": ["ruled-chip.speedup"]},
    )
    with pytest.raises(SpecError, match="at most one platform may decide the arithmetic"):
        both.arithmetic(both.space.decode([0, 0, 0]))


def test_what_cannot_be_run_here_is_refused_though_its_name_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = fake_problem()
    check_runnable(problem)
    monkeypatch.setattr(FakeWorkload, "needs", "a folder: set DSE_FOLDER")

    with pytest.raises(SpecError, match="'fake' cannot be run here. It needs: a folder"):
        check_runnable(problem)
