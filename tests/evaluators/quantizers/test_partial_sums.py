from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dse.errors import EvaluationError
from evaluators.arithmetic.columns import input_rows, weight_rows
from evaluators.arithmetic.convolution import Window
from evaluators.arithmetic.matmul import MatMul
from evaluators.arithmetic.psum_maxima import PsumMaxima
from evaluators.arithmetic.psum_plan import make_plan
from evaluators.arithmetic.psum_reference import psum_reference
from evaluators.quantizers import partial_sums
from evaluators.quantizers.kinds import second
from evaluators.quantizers.layers import QuantizedModel
from evaluators.quantizers.scheme import ALL, PartialSums, Scheme
from evaluators.quantizers.sum_calibration import Key
from evaluators.quantizers.tensor_range import TensorRange, seen
from tests.evaluators.fake_mixed import LAYERS, MixedNetwork, images
from tests.evaluators.fake_network import TinyNetwork

_SUMS = PartialSums(tile=8, bits=6, group=2)
_SCHEMES = [
    Scheme(weights=8, inputs=8, sums=_SUMS),
    Scheme(weights=4, inputs=8, granularity="channel", symmetry="asymmetric", sums=_SUMS),
    Scheme(
        weights=8,
        inputs=8,
        quantizer="absmax",
        symmetry="asymmetric",
        sums=PartialSums(tile=5, bits=8, group=ALL),
    ),
    Scheme(weights=3, inputs=5, sums=PartialSums(tile=16, bits=4, group=1)),
]


class _Alone(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *values: Tensor) -> Tensor:
        result: Tensor = self.layer(*values)
        return result


def _alone(layer: nn.Module, scheme: Scheme, *values: Tensor) -> QuantizedModel:
    model = QuantizedModel(_Alone(layer), layers=["layer"], calibration=lambda: [values])
    model.set({"layer": scheme})
    return model


def _run(model: QuantizedModel, *values: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = model.model(*values)
    return result


def _values(*shape: int, seed: int = 0) -> Tensor:
    # far more on one side, so that an asymmetric range is one
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(drawn > 0, drawn, drawn * 0.2)


def _exponents(products: list[Tensor], scheme: Scheme) -> list[int]:
    """By the rule of the sheet: at a fold by the running sum, elsewhere by the tile alone."""
    assert scheme.sums is not None
    found, running = [], torch.zeros_like(products[0])
    for step, product in enumerate(products):
        running = running + product
        folds = step % scheme.sums.group == 0 or step == len(products) - 1
        largest = int((running if folds else product).abs().max())
        exponent = 0
        while (2 ** (scheme.sums.bits - 1) - 1) * 2**exponent < largest:
            exponent += 1
        found.append(exponent)
    return found


def _summed(x: Tensor, w: Tensor, scheme: Scheme) -> Tensor:
    """Rows of centred codes (m, k) times (n, k), by the reference."""
    assert scheme.sums is not None
    k, tile = w.shape[1], scheme.sums.tile
    products = [
        x[:, at : at + tile].long() @ w[:, at : at + tile].long().T for at in range(0, k, tile)
    ]
    plan = make_plan(
        k,
        tile=tile,
        group_size=scheme.sums.group,
        psum_bits=scheme.sums.bits,
        exponents=_exponents(products, scheme),
    )
    return torch.from_numpy(psum_reference(x.long(), w.long(), plan))


def _real(product: Tensor, steps: Tensor, layer: nn.Module) -> Tensor:
    return product.double() * steps + layer.get_parameter("bias").detach().double()


def _steps(model: QuantizedModel) -> Tensor:
    step = model.operands["layer"].step
    return step if isinstance(step, Tensor) else torch.tensor(step, dtype=torch.float64)


def _codes(model: QuantizedModel, values: Tensor) -> tuple[Tensor, Tensor]:
    operands = model.operands["layer"]
    return operands.inputs.codes(values), operands.coded.codes  # type: ignore[union-attr]


@pytest.mark.parametrize("scheme", _SCHEMES, ids=str)
@pytest.mark.parametrize("lead", [(), (9,), (2, 5)], ids=len)
def test_linear_stores_its_sums_as_the_reference_does(
    lead: tuple[int, ...], scheme: Scheme
) -> None:
    layer, values = nn.Linear(40, 6), _values(*lead, 40)

    model = _alone(layer, scheme, values)

    x, w = _codes(model, values)
    product = _summed(x.reshape(-1, 40), w, scheme).reshape(*lead, 6)
    found = _run(model, values)
    np.testing.assert_allclose(found, _real(product, _steps(model), layer), rtol=3e-6, atol=1e-5)
    assert not torch.equal(product.reshape(-1, 6), x.reshape(-1, 40).long() @ w.long().T)


@pytest.mark.parametrize("scheme", _SCHEMES, ids=str)
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d])
def test_convolution_stores_its_sums_in_the_order_of_the_sheet(
    kind: type[nn.Conv1d | nn.Conv2d], scheme: Scheme
) -> None:
    dimensions = 2 if kind is nn.Conv2d else 1
    layer = kind(12, 4, 3, stride=2, padding=1, dilation=2)
    values = _values(3, 12, *(9, 7)[:dimensions])
    assert scheme.sums is not None

    model = _alone(layer, scheme, values)

    x, w = _codes(model, values)
    twos, ones = (2,) * dimensions, (1,) * dimensions
    window = Window(stride=twos, dilation=twos, padding=ones, groups=1)
    rows = input_rows(x, w.shape[2:], window, scheme.sums.tile)
    columns = weight_rows(w, window, scheme.sums.tile)[0]
    product = _summed(rows.reshape(-1, rows.shape[-1]), columns, scheme)
    wanted = _real(product, _steps(model), layer).reshape(*rows.shape[:-2], 4).movedim(-1, 1)
    found = _run(model, values)
    np.testing.assert_allclose(found, wanted, rtol=3e-6, atol=1e-5)
    np.testing.assert_allclose(_run(model, values[0]), wanted[0], rtol=3e-6, atol=1e-5)


@pytest.mark.parametrize("scheme", _SCHEMES, ids=str)
def test_groups_of_a_convolution_share_their_exponents(scheme: Scheme) -> None:
    layer, values = nn.Conv1d(24, 4, 3, groups=2, bias=False), _values(2, 24, 9)
    assert scheme.sums is not None
    tile = scheme.sums.tile

    model = _alone(layer, scheme, values)

    x, w = _codes(model, values)
    window = Window(stride=(1,), dilation=(1,), padding=(0,), groups=2)
    rows, columns = input_rows(x, (3,), window, tile), weight_rows(w, window, tile)
    cuts = [slice(at, at + tile) for at in range(0, 36, tile)]
    both = [
        torch.einsum("bsgk,gnk->bsgn", rows[..., cut].long(), columns[..., cut].long())
        for cut in cuts
    ]
    plan = make_plan(
        36,
        tile=tile,
        group_size=scheme.sums.group,
        psum_bits=scheme.sums.bits,
        exponents=_exponents(both, scheme),
    )
    parts = [
        torch.from_numpy(psum_reference(rows[:, :, g].reshape(-1, 36), columns[g], plan))
        for g in range(2)
    ]
    wanted = torch.cat(parts, dim=1).reshape(2, 7, 4).mT * _steps(model).reshape(-1, 1)
    np.testing.assert_allclose(_run(model, values), wanted, rtol=3e-6, atol=1e-5)


@pytest.mark.parametrize("scheme", _SCHEMES, ids=str)
@pytest.mark.parametrize("shapes", [((5, 20), (20, 4)), ((2, 3, 5, 20), (3, 20, 4))], ids=len)
def test_matmul_stores_its_sums_with_one_exponent_a_tile(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], scheme: Scheme
) -> None:
    first, other = _values(*shapes[0]), _values(*shapes[1], seed=1)
    assert scheme.sums is not None
    tile = scheme.sums.tile

    model = _alone(MatMul(), scheme, first, other)

    inputs = TensorRange([seen(first)]).grid(scheme.input_rule)
    seconds = TensorRange([seen(other)]).grid(scheme.second_rule)
    a, b = inputs.codes(first).long(), seconds.codes(other).long()
    cuts = [slice(at, at + tile) for at in range(0, 20, tile)]
    products = [a[..., cut] @ b[..., cut, :] for cut in cuts]
    plan = make_plan(
        20,
        tile=tile,
        group_size=scheme.sums.group,
        psum_bits=scheme.sums.bits,
        exponents=_exponents(products, scheme),
    )
    lead = products[0].shape[:-2]
    pairs = zip(
        a.expand(*lead, 5, 20).reshape(-1, 5, 20),
        b.expand(*lead, 20, 4).reshape(-1, 20, 4),
        strict=True,
    )
    wanted = torch.stack([torch.from_numpy(psum_reference(x, y.T, plan)) for x, y in pairs])
    found = _run(model, first, other)
    assert second("layer") == "layer (second operand)"
    np.testing.assert_allclose(
        found, wanted.reshape(found.shape) * inputs.step * seconds.step, rtol=3e-6, atol=1e-5
    )


def test_a_reduction_longer_than_any_seen_uses_the_last_exponents() -> None:
    scheme = _SCHEMES[0]
    short = _values(5, 20), _values(20, 4, seed=1)
    long = _values(5, 30, seed=2), _values(30, 4, seed=3)

    model = _alone(MatMul(), scheme, *short)

    summation = model.operands["layer"].summation
    assert summation is not None
    assert len(summation.exponents(30)) == 4
    assert summation.exponents(30)[3] == summation.units.sums[2]
    assert _run(model, *long).isfinite().all()


def _mixed(schemes: Mapping[str, Scheme]) -> Tensor:
    network = MixedNetwork()
    model = QuantizedModel(network.model(), layers=LAYERS, calibration=network.calibration)
    model.set(schemes)
    return _run(model, images("search"))


@pytest.mark.parametrize("symmetry", ["symmetric", "asymmetric"])
def test_sums_that_lose_nothing_give_the_exact_network(symmetry: str) -> None:
    exact = Scheme(weights=4, inputs=4, symmetry=symmetry)
    # with 16 bits, sums of 4-bit codes fit at a unit of 1
    whole = Scheme(
        weights=4, inputs=4, symmetry=symmetry, sums=PartialSums(tile=3, bits=16, group=2)
    )

    assert torch.equal(_mixed(dict.fromkeys(LAYERS, whole)), _mixed(dict.fromkeys(LAYERS, exact)))


def test_stored_sums_of_every_kind_of_layer_change_the_network() -> None:
    exact = dict.fromkeys(LAYERS, Scheme(weights=8, inputs=8))
    sums = PartialSums(tile=3, bits=4, group=1)
    before = _mixed(exact)

    for layer in LAYERS:
        found = _mixed(exact | {layer: Scheme(weights=8, inputs=8, sums=sums)})
        assert torch.equal(found, before) == (layer == "deep"), layer


def test_depthwise_layers_and_single_tiles_never_call_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []
    monkeypatch.setattr(partial_sums, "prepare_psum", lambda *a, **k: called.append("weights"))
    monkeypatch.setattr(partial_sums, "grouped_psum_matmul", lambda *a, **k: called.append("two"))
    whole = Scheme(weights=8, inputs=8, sums=PartialSums(tile=72, bits=4, group=1))
    depthwise = Scheme(weights=8, inputs=8, sums=PartialSums(tile=3, bits=4, group=1))

    found = _mixed({**dict.fromkeys(LAYERS, whole), "deep": depthwise})

    assert called == []
    assert torch.equal(found, _mixed(dict.fromkeys(LAYERS, Scheme(weights=8, inputs=8))))


class _Memory:
    """Keeps maxima and counts what it is asked."""

    def __init__(self) -> None:
        self.found: dict[str, PsumMaxima] = {}

    def find(self, key: Key) -> PsumMaxima | None:
        return self.found.get(str(key))

    def keep(self, key: Key, maxima: PsumMaxima) -> None:
        assert str(key) not in self.found
        self.found[str(key)] = maxima


def _tiny(memory: _Memory | None, runs: list[int]) -> QuantizedModel:
    network = TinyNetwork()

    def calibration() -> list[tuple[Tensor, ...]]:
        runs.append(1)
        return list(network.calibration())

    return QuantizedModel(
        network.model(), layers=network.shape.names, calibration=calibration, kept_sums=memory
    )


def _units(model: QuantizedModel) -> dict[str, object]:
    return {
        name: None if operands.summation is None else operands.summation.units
        for name, operands in model.operands.items()
    }


def test_one_run_serves_every_group_and_width_and_other_models() -> None:
    memory, runs = _Memory(), list[int]()
    layers = TinyNetwork().shape.names
    sums = [PartialSums(tile=4, bits=bits, group=group) for bits in (4, 8) for group in (1, ALL)]
    model = _tiny(memory, runs)

    for one in sums:
        model.set(dict.fromkeys(layers, Scheme(weights=8, inputs=8, sums=one)))
    again = _tiny(memory, runs)
    again.set(dict.fromkeys(layers, Scheme(weights=8, inputs=8, sums=sums[-1])))

    # ranges, sums; ranges
    assert len(runs) == 3
    assert _units(again) == _units(model)
    assert len(memory.found) == len(layers)


def test_units_of_a_layer_do_not_depend_on_the_other_layers() -> None:
    layers = TinyNetwork().shape.names
    here = Scheme(weights=8, inputs=8, sums=PartialSums(tile=4, bits=8, group=2))
    alone, among = _tiny(None, []), _tiny(None, [])

    alone.set({**dict.fromkeys(layers, Scheme(weights=16, inputs=16)), "out": here})
    among.set({**dict.fromkeys(layers, Scheme(weights=2, inputs=2, sums=_SUMS)), "out": here})

    assert _units(alone)["out"] == _units(among)["out"]
    assert _units(alone)["first"] is None


def test_a_layer_that_no_sample_reaches_is_named() -> None:
    network = TinyNetwork()
    layers = network.shape.names
    ranges = {name: TensorRange([seen(torch.ones(3))]) for name in layers}
    model = QuantizedModel(network.model(), layers=layers, calibration=lambda: [], ranges=ranges)

    with pytest.raises(EvaluationError, match="layer 'first' was not run on a calibration"):
        model.set(dict.fromkeys(layers, Scheme(weights=8, inputs=8, sums=_SUMS)))
