import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dse.errors import EvaluationError
from evaluators.arithmetic.convolution import Window, integer_convolution_oracle
from evaluators.arithmetic.matmul import MatMul
from evaluators.arithmetic.products import integer_matmul_oracle, integer_product_oracle
from evaluators.quantizers.dynamic import DynamicOperands
from evaluators.quantizers.kinds import second
from evaluators.quantizers.layers import QuantizedModel
from evaluators.quantizers.scheme import Scheme
from evaluators.quantizers.tensor_range import TensorRange, seen, weight_grid
from evaluators.quantizers.weighted import Operands
from tests.evaluators.fake_mixed import LAYERS, MixedModel, MixedNetwork, images
from tests.evaluators.fake_network import TinyNetwork

_BITS = (2, 3, 4, 5, 6, 7, 8, 16)
SCHEMES = [
    Scheme(weights=w, inputs=a, quantizer=quantizer, granularity=granularity, symmetry=symmetry)
    for w, a in ((2, 8), (4, 4), (8, 3), (16, 5), (5, 16), (16, 16))
    for quantizer, symmetry in (("mmse", "asymmetric"), ("absmax", "symmetric"))
    for granularity in ("tensor", "channel")
]


class _Alone(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *values: Tensor) -> Tensor:
        result: Tensor = self.layer(*values)
        return result


def _alone(layer: nn.Module, *values: Tensor) -> QuantizedModel:
    return QuantizedModel(_Alone(layer), layers=["layer"], calibration=lambda: [values])


def _run(model: QuantizedModel, scheme: Scheme | None, *values: Tensor) -> Tensor:
    model.set(None if scheme is None else {"layer": scheme})
    with torch.no_grad():
        result: Tensor = model.model(*values)
    return result


def _values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + 0.3


def _bias(layer: nn.Module) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return layer.get_parameter("bias").detach().numpy()


def _mixed() -> QuantizedModel:
    network = MixedNetwork()
    return QuantizedModel(network.model(), layers=LAYERS, calibration=network.calibration)


@pytest.mark.parametrize("w_bits", _BITS)
@pytest.mark.parametrize("a_bits", _BITS)
def test_linear_is_the_exact_integer_product_times_both_steps(w_bits: int, a_bits: int) -> None:
    linear, values = nn.Linear(40, 6), _values(3, 9, 40)

    result = _run(_alone(linear, values), Scheme(weights=w_bits, inputs=a_bits), values)

    scheme = Scheme(weights=w_bits, inputs=a_bits)
    weights = weight_grid(linear.weight, bits=w_bits, by_channel=False)
    inputs = TensorRange([seen(values)]).grid(scheme.input_rule)
    with torch.no_grad():
        product = integer_product_oracle(inputs.codes(values), weights.codes(linear.weight))
    steps = weights.real(torch.tensor(1.0)).item() * inputs.step
    np.testing.assert_allclose(
        result.numpy(), product * steps + _bias(linear), rtol=3e-6, atol=1e-5
    )


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 9, 7), (4, 9, 7), (3, 4, 9), (4, 9)], ids=len)
def test_convolution_is_the_exact_integer_product_times_its_channels_steps(
    shape: tuple[int, ...], scheme: Scheme
) -> None:
    plane = shape in ((3, 4, 9, 7), (4, 9, 7))
    kind = nn.Conv2d if plane else nn.Conv1d
    layer = kind(4, 6, 3, stride=2, padding=1, dilation=2, groups=2)
    values = _values(*shape)

    result = _run(_alone(layer, values), scheme, values)

    weights = weight_grid(layer.weight, bits=scheme.weights, by_channel=scheme.by_channel)
    inputs = TensorRange([seen(values)]).grid(scheme.input_rule)
    dimensions = 2 if plane else 1
    ones = (1,) * dimensions
    twos = (2,) * dimensions
    window = Window(stride=twos, dilation=twos, padding=ones, groups=2)
    with torch.no_grad():
        codes = inputs.codes(values).reshape(-1, *shape[-dimensions - 1 :])
        product = integer_convolution_oracle(codes, weights.codes(layer.weight), window)
        steps = weights.real(torch.ones(6, 1)).double().flatten().numpy() * inputs.step
    expected = product * steps.reshape(-1, *ones) + _bias(layer).reshape(-1, *ones)
    np.testing.assert_allclose(
        result.numpy(), expected.reshape(result.shape), rtol=3e-6, atol=1e-5
    )


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_matmul_is_the_exact_integer_product_of_both_operands(scheme: Scheme) -> None:
    first, other = _values(2, 3, 5, 12), _values(2, 3, 12, 4, seed=1) - 1.0
    model = _alone(MatMul(), first, other)

    result = _run(model, scheme, first, other)

    a = TensorRange([seen(first)]).grid(scheme.input_rule)
    b = TensorRange([seen(other)]).grid(scheme.second_rule)
    assert model.operands["layer"] == DynamicOperands(inputs=a, second=b)
    product = integer_matmul_oracle(a.codes(first), b.codes(other))
    np.testing.assert_allclose(result.numpy(), product * (a.step * b.step), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_zero_weights_and_zero_inputs_give_the_bias(scheme: Scheme) -> None:
    layer = nn.Conv1d(4, 3, 2)
    nn.init.zeros_(layer.weight)
    values = torch.zeros(2, 4, 5)

    result = _run(_alone(layer, values), scheme, values)

    assert torch.equal(result, torch.from_numpy(_bias(layer))[:, None].expand(2, 3, 4))


@pytest.mark.parametrize("padding", [1, "same"])
def test_padding_is_the_real_zero_wherever_the_zero_point_lies(padding: int | str) -> None:
    layer = nn.Conv1d(1, 1, 3, padding=padding, bias=False)
    nn.init.ones_(layer.weight)
    values = torch.tensor([[[5.0, 5.0, 5.0, 6.0]]])

    scheme = Scheme(weights=8, inputs=8, quantizer="absmax", symmetry="asymmetric")
    result = _run(_alone(layer, values), scheme, values)

    expected = torch.nn.functional.conv1d(values, layer.weight.detach(), padding=1)
    torch.testing.assert_close(result, expected, rtol=0.02, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_results_have_the_models_dtype(dtype: torch.dtype) -> None:
    layer, values = nn.Linear(300, 4).to(dtype), _values(5, 300).to(dtype)
    model = _alone(layer, values)

    result = _run(model, Scheme(weights=8, inputs=8, granularity="channel"), values)

    assert result.dtype == dtype
    torch.testing.assert_close(result, _run(model, None, values), rtol=0.1, atol=0.1)


def test_unset_model_is_the_float_network() -> None:
    model, values = _mixed(), images("search")

    with torch.no_grad():
        assert torch.equal(model.model(values), MixedNetwork().model()(values))


def test_unsetting_brings_the_float_network_back() -> None:
    model, values = _mixed(), images("search")

    model.set(dict.fromkeys(LAYERS, SCHEMES[0]))
    model.set(None)

    with torch.no_grad():
        assert torch.equal(model.model(values), MixedNetwork().model()(values))
    assert model.operands == {}


def test_no_scheme_leaves_a_trace_in_the_next() -> None:
    used, values = _mixed(), images("search")

    for scheme in (*SCHEMES[::5], *reversed(SCHEMES[::5])):
        fresh = _mixed()
        for model in (used, fresh):
            model.set(dict.fromkeys(LAYERS, scheme))
        with torch.no_grad():
            assert torch.equal(used.model(values), fresh.model(values)), scheme


def test_every_batch_size_gives_the_same_codes() -> None:
    model, values = _mixed(), images("search")
    model.set(dict.fromkeys(LAYERS, SCHEMES[3]))

    with torch.no_grad():
        whole = model.model(values)
        parts = torch.cat([model.model(part) for part in torch.split(values, 5)])

    torch.testing.assert_close(parts, whole)


def test_codes_are_made_once_and_calibration_runs_once() -> None:
    network = TinyNetwork()
    calls: list[int] = []

    def calibration() -> list[tuple[Tensor, ...]]:
        calls.append(1)
        return list(network.calibration())

    model = QuantizedModel(network.model(), layers=network.shape.names, calibration=calibration)

    seen_operands = []
    for weights, inputs in ((4, 4), (4, 8), (8, 8), (4, 4)):
        model.set(dict.fromkeys(network.shape.names, Scheme(weights=weights, inputs=inputs)))
        operands = model.operands["first"]
        assert isinstance(operands, Operands)
        seen_operands.append(operands)

    first, wider, _, again = seen_operands
    assert len(calls) == 1
    assert first.coded is wider.coded is again.coded
    assert first.coded.codes.dtype == torch.int8


def test_ranges_may_come_from_elsewhere() -> None:
    network = MixedNetwork()
    asked: list[set[str]] = []

    def recall(make):  # type: ignore[no-untyped-def]
        found = make()
        asked.append(set(found))
        return found

    model = QuantizedModel(
        network.model(), layers=LAYERS, calibration=network.calibration, recall=recall
    )
    for scheme in SCHEMES[:2]:
        model.set(dict.fromkeys(LAYERS, scheme))

    assert asked == [{*LAYERS, second("scores")}]


def test_a_module_with_two_names_is_the_same_by_both() -> None:
    shared = nn.Linear(3, 3)
    model = nn.ModuleDict({"one": shared, "other": shared})
    values = _values(4, 3)
    root = nn.Sequential(model["one"], model["other"])
    quantized = QuantizedModel(root, layers=["0"], calibration=lambda: [(values,)])

    quantized.set({"0": Scheme(weights=2, inputs=16)})

    with torch.no_grad():
        assert torch.equal(root[0](values), root[1](values))
        assert not torch.equal(root[1](values), values @ shared.weight.T + shared.bias)


def test_tied_weights_may_have_widths_of_their_own() -> None:
    root = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    root[1].weight = root[0].weight
    values = _values(4, 3)
    quantized = QuantizedModel(root, layers=["0", "1"], calibration=lambda: [(values,)])

    quantized.set({"0": Scheme(weights=2, inputs=8), "1": Scheme(weights=8, inputs=8)})

    codes = [one.coded.codes for one in quantized.operands.values() if isinstance(one, Operands)]
    assert int(codes[0].abs().max()) <= 2 < int(codes[1].abs().max())


def test_arguments_may_be_named() -> None:
    model, values = _alone(nn.Conv1d(2, 2, 1), _values(1, 2, 3)), _values(1, 2, 3)
    by_place = _run(model, SCHEMES[0], values)

    with torch.no_grad():
        by_name = model.model.get_submodule("layer")(input=values)

    assert torch.equal(by_name, by_place)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_told_of_by_layer(value: float) -> None:
    model, values = _alone(nn.Linear(3, 3), _values(4, 3)), _values(4, 3)
    model.set({"layer": SCHEMES[0]})
    values[1, 2] = value

    with pytest.raises(EvaluationError, match="input of layer 'layer' must be finite"):
        model.model(values)


def test_large_values_are_finite_though_their_sum_is_not() -> None:
    model, values = _alone(nn.Linear(3, 3), _values(4, 3)), torch.full((4, 3), 3e38)
    model.set({"layer": SCHEMES[0]})

    assert torch.isfinite(model.model(values)).all()


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_weights_that_are_not_finite_are_told_of_by_layer(granularity: str) -> None:
    layer, values = nn.Linear(3, 3), _values(4, 3)
    layer.weight.data[1, 1] = torch.nan

    with pytest.raises(EvaluationError, match="weight of layer 'layer': .* finite"):
        _run(_alone(layer, values), Scheme(weights=4, inputs=4, granularity=granularity), values)


class _Scaled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.Sequential(), "the model has no layer '0'"),
        (nn.Sequential(nn.Tanh()), "'0' must be an nn.Linear, .* got Tanh"),
        (nn.Sequential(_Scaled(2, 2)), "'0' must be .*its own forward, got _Scaled"),
        (
            nn.Sequential(nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular")),
            "'0' must have padding mode 'zeros', got 'circular'",
        ),
    ],
)
def test_what_is_no_product_is_refused(model: nn.Module, told: str) -> None:
    with pytest.raises(EvaluationError, match=told):
        QuantizedModel(model, layers=["0"], calibration=lambda: ())


def test_the_models_parameters_keep_their_names() -> None:
    model = _mixed().model

    assert list(model.state_dict()) == list(MixedModel().state_dict())
