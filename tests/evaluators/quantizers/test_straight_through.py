import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from evaluators.arithmetic.matmul import MatMul
from evaluators.arithmetic.psum_maxima import PsumUnits
from evaluators.quantizers.behind import quantized_at
from evaluators.quantizers.calibration import input_ranges
from evaluators.quantizers.grid import Grid
from evaluators.quantizers.layers import QuantizedModel
from evaluators.quantizers.partial_sums import Summation
from evaluators.quantizers.scheme import PartialSums, Scheme
from evaluators.quantizers.straight_through import (
    ShadowDynamic,
    ShadowModel,
    ShadowWeighted,
    pass_all,
    pass_inside,
)
from evaluators.quantizers.uniform import UNIFORM_BITS, asymmetric_grid, uniform_grid
from tests.evaluators.fake_mixed import LAYERS, MixedNetwork, images

BITS = [*UNIFORM_BITS, 16]


def values(seed: int = 0, size: int = 400) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", UNIFORM_BITS)
def test_values_come_out_on_the_grid(bits: int) -> None:
    grid, given_values = uniform_grid(1.0, bits=bits), values()
    expected = grid.codes(given_values) * grid.step

    assert torch.allclose(pass_all(given_values, grid), expected, atol=1e-6)
    assert torch.allclose(pass_inside(given_values, grid), expected, atol=1e-6)


def test_weights_gradients_pass_everywhere() -> None:
    given_values = values().requires_grad_()

    torch.autograd.backward(pass_all(given_values, uniform_grid(0.5, bits=2)).sum())

    assert given_values.grad is not None
    assert (given_values.grad == 1).all()


def test_inputs_gradients_stop_outside_the_clip_range() -> None:
    given_values, grid = values().requires_grad_(), uniform_grid(0.5, bits=2)

    torch.autograd.backward(pass_inside(given_values, grid).sum())

    inside = (given_values.detach() >= grid.low * grid.step) & (
        given_values.detach() <= grid.high * grid.step
    )
    assert given_values.grad is not None
    assert torch.equal(given_values.grad == 1, inside)
    assert torch.equal(given_values.grad == 0, ~inside)


@pytest.mark.parametrize("grid", [uniform_grid(0.7, bits=3), asymmetric_grid(-0.2, 1.0, bits=4)])
def test_inputs_are_what_autograd_makes_of_the_clipped_values(grid: Grid) -> None:
    """Bit for bit: the estimator as its equations stand, gradients through the clip alone."""
    ours, theirs, upstream = values().requires_grad_(), values().requires_grad_(), values(1)
    clipped = theirs.clamp(grid.least * grid.step, grid.most * grid.step)
    plain = clipped + (grid.real(grid.codes(theirs)) - clipped).detach()

    passed = pass_inside(ours, grid)
    torch.autograd.backward(passed, upstream)
    torch.autograd.backward(plain, upstream)

    assert torch.equal(passed, plain)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


def test_gradients_stop_at_both_ends_of_an_asymmetric_range() -> None:
    given_values, grid = values().requires_grad_(), asymmetric_grid(-0.2, 1.0, bits=3)

    torch.autograd.backward(pass_inside(given_values, grid).sum())

    plain = given_values.detach()
    inside = (plain >= grid.least * grid.step) & (plain <= grid.most * grid.step)
    assert given_values.grad is not None
    assert torch.equal(given_values.grad == 1, inside)
    assert 0.2 < float(inside.double().mean()) < 0.8


@given(
    st.sampled_from(BITS),
    st.sampled_from(BITS),
    st.sampled_from(["mmse", "absmax", "percentile"]),
    st.sampled_from(["tensor", "channel"]),
    st.sampled_from(["symmetric", "asymmetric"]),
)
@settings(deadline=None, max_examples=40)
def test_a_shadow_of_each_kind_is_the_integer_product_but_for_rounding(
    w: int, a: int, quantizer: str, granularity: str, symmetry: str
) -> None:
    scheme = Scheme(
        weights=w, inputs=a, quantizer=quantizer, granularity=granularity, symmetry=symmetry
    )
    kinds = {
        "linear": (nn.Linear(20, 7), [values(1, 60).reshape(3, 20)]),
        "plane": (nn.Conv2d(4, 6, 2, groups=2, padding=1), [values(2, 100).reshape(1, 4, 5, 5)]),
        "line": (nn.Conv1d(4, 4, 3, groups=4, stride=2), [values(3, 60).reshape(4, 15)]),
        "product": (MatMul(), [values(4, 60).reshape(3, 20), values(5, 40).reshape(20, 2)]),
    }
    for module, inputs in kinds.values():
        ranges = input_ranges(module, [""], [tuple(inputs)])
        with torch.no_grad():
            shadow = ShadowModel(copy.deepcopy(module), {"": scheme})
            shadow.fit_weights()
            shadow.fit_inputs(ranges)
            exact = QuantizedModel(module, layers=[""], calibration=lambda: (), ranges=ranges)
            exact.set({"": scheme})
            assert torch.allclose(shadow.model(*inputs), exact.model(*inputs), atol=2e-4)


def test_every_parameter_gets_a_gradient() -> None:
    network = MixedNetwork()
    model = network.model()
    ranges = input_ranges(model, LAYERS, network.calibration())
    scheme = Scheme(weights=4, inputs=4, granularity="channel", symmetry="asymmetric")
    shadow = ShadowModel(model, dict.fromkeys(LAYERS, scheme))
    shadow.fit_weights()
    shadow.fit_inputs(ranges)

    torch.autograd.backward(shadow.model(images("search")).square().sum())

    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_without_grids_the_shadow_is_the_float_network() -> None:
    network = MixedNetwork()
    shadow = ShadowModel(network.model(), dict.fromkeys(LAYERS, Scheme(weights=2, inputs=2)))
    shadow.fit_inputs(None)

    with torch.no_grad():
        found, expected = shadow.model(images("test")), network.model()(images("test"))
    torch.testing.assert_close(found, expected)


def test_the_model_keeps_its_parameters_names() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Conv1d(4, 2, 1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    ShadowModel(model, {"0": Scheme(weights=2, inputs=2), "2": Scheme(weights=4, inputs=16)})

    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


_STORED = Scheme(
    weights=5,
    inputs=6,
    granularity="channel",
    symmetry="asymmetric",
    sums=PartialSums(tile=3, bits=5, group=2),
)


def _both(scheme: Scheme) -> tuple[ShadowModel, QuantizedModel]:
    network = MixedNetwork()
    schemes = dict.fromkeys(LAYERS, scheme)
    ranges = input_ranges(network.model(), LAYERS, network.calibration())
    exact = quantized_at(network.model(), schemes, ranges, network.calibration())
    shadow = ShadowModel(network.model(), schemes)
    shadow.fit_weights()
    shadow.fit_inputs(ranges)
    shadow.fit_sums({name: one.summation for name, one in exact.operands.items()})
    return shadow, exact


def test_a_shadow_sees_stored_sums_as_the_evaluator_does() -> None:
    shadow, exact = _both(_STORED)
    plain, _ = _both(replace(_STORED, sums=None))

    with torch.no_grad():
        found, wanted, before = (model.model(images("search")) for model in (shadow, exact, plain))
    # a code on the edge falls to either side: most outputs are the same, and none is far off
    assert float((found - wanted).abs().median()) < 1e-5
    assert float((found - before).abs().median()) > 1e-2


def test_gradients_of_stored_sums_are_those_of_the_plain_product() -> None:
    linear, other = nn.Linear(12, 5), MatMul()
    summation = Summation(
        sums=PartialSums(tile=4, bits=4, group=1),
        units=PsumUnits(tiles=(9, 9, 9), sums=(9, 9, 9)),
    )
    grid = uniform_grid(2.0, bits=8)
    inputs = values(1, 48).reshape(4, 12), values(2, 60).reshape(12, 5)

    gradients, results = [], []
    for sums in (None, summation):
        shadow = ShadowWeighted(copy.deepcopy(linear), Scheme(weights=8, inputs=8))
        dynamic = ShadowDynamic(copy.deepcopy(other), Scheme(weights=8, inputs=8))
        shadow.fit_weight()
        shadow.inputs, dynamic.inputs = grid, (grid, grid)
        shadow.summation = dynamic.summation = sums
        leaves = [one.clone().requires_grad_() for one in inputs]
        found = shadow._forward(leaves[0]) + dynamic._forward(*leaves)
        weights = torch.linspace(-1, 1, found.numel()).reshape(found.shape)
        torch.autograd.backward((found * weights).sum())
        parameters = list(shadow._module.parameters())
        gradients.append([one.grad for one in [*leaves, *parameters]])
        results.append(found.detach())

    assert not torch.allclose(results[0], results[1])
    for plain, stored in zip(*gradients, strict=True):
        assert plain is not None
        assert stored is not None
        torch.testing.assert_close(plain, stored)
