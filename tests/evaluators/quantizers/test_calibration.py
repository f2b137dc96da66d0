import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dse.errors import EvaluationError
from evaluators.arithmetic.matmul import MatMul
from evaluators.quantizers.calibration import input_ranges, pack_ranges, unpack_ranges
from evaluators.quantizers.histogram import Histogram
from evaluators.quantizers.kinds import second
from evaluators.quantizers.tensor_range import TensorRange, seen
from tests.evaluators.fake_mixed import LAYERS, MixedNetwork
from tests.evaluators.fake_network import TinyNetwork
from tests.evaluators.quantizers.test_tensor_range import RULES


def _same(one: Histogram, other: Histogram) -> bool:
    return (
        (one.low, one.high) == (other.low, other.high)
        and np.array_equal(one.counts, other.counts)
        and np.array_equal(one.tails, other.tails)
    )


def _values(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class _Often(nn.Module):
    """Runs its layer on parts of its input, so long as there are any."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.after = nn.Linear(2, 2)

    def forward(self, *parts: Tensor) -> Tensor:
        result: Tensor = self.after(torch.cat([self.layer(part) for part in parts]))
        return result


def test_ranges_are_those_of_the_inputs_that_each_layer_sees() -> None:
    network = TinyNetwork()
    model = network.model()
    samples = network.calibration()

    ranges = input_ranges(model, network.shape.names, samples)

    with torch.no_grad():
        inputs = [model.get_submodule("first")(frames).tanh() for (frames,) in samples]
    expected = TensorRange([seen(values) for values in inputs])
    assert all(ranges["second"].grid(rule) == expected.grid(rule) for rule in RULES)


def test_both_operands_of_a_dynamic_product_have_ranges() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.product = MatMul()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            result: Tensor = self.product(a, b=b)
            return result

    a, b = _values(3, 4, 5), _values(3, 5, 2, seed=2)

    ranges = input_ranges(Model(), ["product"], [(a, b)])

    assert list(ranges) == ["product", second("product")]
    assert _same(ranges["product"].samples[0], seen(a))
    assert _same(ranges[second("product")].samples[0], seen(b))


def test_calls_of_one_sample_are_one_tensor_however_many_there_are() -> None:
    model, parts = _Often(), [_values(n, 2, seed=n) for n in (3, 4, 5, 6)]
    samples = [(parts[0],), (parts[1], parts[2]), (parts[3],), tuple(parts[:3])]

    ranges = input_ranges(model, ["layer", "after"], samples)

    for sample, found in zip(samples, ranges["layer"].samples, strict=True):
        assert _same(found, seen(torch.cat(sample)))
    with torch.no_grad():
        after = [torch.cat([model.layer(part) for part in sample]) for sample in samples]
    for values, found in zip(after, ranges["after"].samples, strict=True):
        assert _same(found, seen(values))


def test_what_happens_to_an_input_afterwards_makes_no_difference() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, values: Tensor) -> Tensor:
            result: Tensor = self.layer(values)
            values.zero_()
            return result

    values = _values(9, 2)

    ranges = input_ranges(Model(), ["layer"], [(values.clone(),)])

    assert _same(ranges["layer"].samples[0], seen(values))


def test_packed_ranges_come_back_as_they_were() -> None:
    network = MixedNetwork()
    ranges = input_ranges(network.model(), LAYERS, network.calibration())

    back = unpack_ranges(pack_ranges(ranges))

    assert set(back) == set(ranges) == {*LAYERS, second("scores")}
    for name, one in ranges.items():
        assert all(map(_same, one.samples, back[name].samples))


def test_hooks_are_gone_after_a_failed_sample() -> None:
    network = TinyNetwork()
    model = network.model()

    with pytest.raises(EvaluationError, match="input of layer 'first'.*finite"):
        input_ranges(model, network.shape.names, [(torch.full((1, 7, 12), torch.nan),)])

    assert not any(module._forward_pre_hooks for module in model.modules())


def test_no_samples_and_unreached_layers_are_refused() -> None:
    model = nn.ModuleDict({"idle": nn.Linear(2, 2)})
    reached = nn.Sequential(nn.Identity(), model)
    reached.forward = lambda values: values  # type: ignore[method-assign]

    with pytest.raises(EvaluationError, match="at least one sample"):
        input_ranges(reached, ["1.idle"], [])
    with pytest.raises(EvaluationError, match="'1.idle' was not run"):
        input_ranges(reached, ["1.idle"], [(torch.zeros(1, 2),)])


def test_an_empty_input_is_refused_by_layer() -> None:
    with pytest.raises(EvaluationError, match="input of layer '0'.*at least one value"):
        input_ranges(nn.Sequential(nn.Linear(2, 2)), ["0"], [(torch.zeros(0, 2),)])
