import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from evaluators.quantizers.calibration import TensorRange, weight_range
from evaluators.quantizers.layers import QuantizedLinear, Widths
from evaluators.quantizers.ranges import histogram
from evaluators.quantizers.straight_through import ShadowLinear, ShadowModel, pass_all, pass_inside
from evaluators.quantizers.uniform import UNIFORM_BITS, uniform_grid

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


@given(st.sampled_from(BITS), st.sampled_from(BITS), st.integers(0, 5))
def test_a_shadow_product_is_the_integer_product_but_for_rounding(
    w: int, a: int, seed: int
) -> None:
    linear = nn.Linear(20, 7)
    inputs = values(seed, 60).reshape(3, 20)
    ranges = TensorRange([histogram(inputs.numpy())])
    shadow = ShadowLinear(linear, widths=Widths(weights=w, inputs=a))
    shadow.weight_grid, shadow.input_grid = weight_range(linear.weight).grid(w), ranges.grid(a)
    exact = QuantizedLinear(linear)
    exact.operands = exact.at(w, ranges.grid(a))

    with torch.no_grad():
        assert torch.allclose(shadow(inputs), exact(inputs), atol=1e-4)


def test_the_model_keeps_its_parameters_names() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    ShadowModel(model, {"0": Widths(weights=2, inputs=2), "2": Widths(weights=4, inputs=16)})

    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40), st.sampled_from(BITS))
def test_a_frozen_range_gives_the_same_grids(given_values: list[float], bits: int) -> None:
    seen = TensorRange([histogram(torch.tensor(given_values).numpy())])

    assert seen.freeze().grid(bits) == seen.grid(bits)
