import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dse.errors import EvaluationError
from evaluators.arithmetic.products import integer_product_oracle
from evaluators.quantizers.calibration import TensorRange, weight_range
from evaluators.quantizers.layers import QuantizedLinear, QuantizedModel, Widths
from evaluators.quantizers.ranges import histogram
from tests.evaluators.fake_network import TinyNetwork

_BITS = (2, 3, 4, 5, 6, 7, 8, 16)


def _network() -> tuple[TinyNetwork, QuantizedModel]:
    network = TinyNetwork()
    model = QuantizedModel(
        network.model(), layers=network.shape.names, calibration=network.calibration
    )
    return network, model


def _everywhere(network: TinyNetwork, widths: Widths) -> dict[str, Widths]:
    return dict.fromkeys(network.shape.names, widths)


@pytest.mark.parametrize("w_bits", _BITS)
@pytest.mark.parametrize("a_bits", _BITS)
def test_layer_is_the_exact_integer_product_times_both_steps(w_bits: int, a_bits: int) -> None:
    generator = torch.Generator().manual_seed(w_bits)
    linear = nn.Linear(40, 6)
    nn.init.normal_(linear.weight, generator=generator)
    values = torch.randn(3, 9, 40, generator=generator)
    inputs = TensorRange([histogram(values.numpy())])
    layer = QuantizedLinear(linear)
    layer.operands = layer.at(w_bits, inputs.grid(a_bits))

    with torch.no_grad():
        result = layer(values)

    w_grid, x_grid = weight_range(linear.weight).grid(w_bits), inputs.grid(a_bits)
    product = integer_product_oracle(x_grid.codes(values), w_grid.codes(linear.weight.detach()))
    exact = product / (w_grid.scale * x_grid.scale) + linear.bias.detach().numpy()
    np.testing.assert_allclose(result.numpy(), exact, rtol=3e-6, atol=1e-5)


@pytest.mark.parametrize("bits", _BITS)
def test_zero_weights_and_zero_inputs_give_the_bias(bits: int) -> None:
    linear = nn.Linear(4, 3)
    nn.init.zeros_(linear.weight)
    layer = QuantizedLinear(linear)
    layer.operands = layer.at(bits, TensorRange([histogram(np.zeros(4))]).grid(bits))

    with torch.no_grad():
        result = layer(torch.zeros(2, 4))

    assert torch.equal(result, linear.bias.expand(2, 3))


def test_unset_model_is_the_float_network() -> None:
    network, model = _network()
    (frames,) = network.calibration()[0]

    with torch.no_grad():
        assert torch.equal(model.model(frames), network.model()(frames))


def test_unsetting_brings_the_float_network_back() -> None:
    network, model = _network()
    (frames,) = network.calibration()[0]

    model.set(_everywhere(network, Widths(weights=2, inputs=2)))
    model.set(None)

    with torch.no_grad():
        assert torch.equal(model.model(frames), network.model()(frames))


def test_designs_share_codes_and_calibration_runs_once() -> None:
    network = TinyNetwork()
    calls: list[int] = []

    def calibration() -> list[tuple[Tensor, ...]]:
        calls.append(1)
        return list(network.calibration())

    model = QuantizedModel(network.model(), layers=network.shape.names, calibration=calibration)
    layer = model.model.get_submodule("first")
    assert isinstance(layer, QuantizedLinear)

    seen = []
    for inputs in (4, 8, 4):
        model.set(_everywhere(network, Widths(weights=4, inputs=inputs)))
        seen.append(layer.operands)

    assert len(calls) == 1
    assert seen[0] is seen[2]
    assert seen[0] is not None
    assert seen[1] is not None
    assert seen[0].weights is seen[1].weights


def test_what_is_no_linear_layer_is_refused() -> None:
    network = TinyNetwork()

    with pytest.raises(EvaluationError, match="no layer 'third'"):
        QuantizedModel(network.model(), layers=["third"], calibration=network.calibration)
    with pytest.raises(EvaluationError, match="must be an nn.Linear, got Tanh"):
        QuantizedModel(nn.Sequential(nn.Tanh()), layers=["0"], calibration=network.calibration)
