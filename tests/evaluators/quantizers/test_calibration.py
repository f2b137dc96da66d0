import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dse.errors import EvaluationError
from evaluators.quantizers.calibration import TensorRange, input_ranges, weight_range
from evaluators.quantizers.fixed_point import fixed_point_grid
from evaluators.quantizers.ranges import histogram, mmse_threshold
from evaluators.quantizers.uniform import uniform_grid
from tests.evaluators.fake_network import TinyNetwork


def test_integer_grid_clips_at_the_median_of_the_samples_thresholds() -> None:
    samples = [histogram(np.random.default_rng(i).normal(0, i + 1, 99)) for i in range(4)]

    grid = TensorRange(samples).grid(4)

    median = np.median([mmse_threshold(sample, bits=4) for sample in samples])
    assert grid == uniform_grid(float(median), bits=4)


def test_fixed_point_format_follows_the_greatest_sample() -> None:
    samples = [histogram(np.array([-peak, 0.1])) for peak in (0.5, 40.0, 1.0)]

    assert TensorRange(samples).grid(16) == fixed_point_grid(40.0)


def test_weight_is_its_own_sample() -> None:
    weight = torch.randn(20, 30, generator=torch.Generator().manual_seed(1))

    threshold = mmse_threshold(histogram(weight.numpy()), bits=3)

    assert weight_range(weight).grid(3) == uniform_grid(threshold, bits=3)


def test_ranges_are_those_of_the_inputs_that_each_layer_sees() -> None:
    network = TinyNetwork()
    model = network.model()
    samples = network.calibration()

    ranges = input_ranges(model, network.shape.names, samples)

    with torch.no_grad():
        seen = [model.get_submodule("first")(frames).tanh() for (frames,) in samples]
    expected = TensorRange([histogram(values.numpy()) for values in seen])
    assert ranges["second"].grid(5) == expected.grid(5)


def test_calls_of_one_sample_are_one_tensor() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, values: Tensor) -> Tensor:
            return torch.cat([self.layer(values), self.layer(3 * values)])

    values = torch.randn(9, 2, generator=torch.Generator().manual_seed(1))

    ranges = input_ranges(Twice(), ["layer"], [(values,)])

    both = histogram(torch.cat([values, 3 * values]).numpy())
    assert ranges["layer"].grid(4) == TensorRange([both]).grid(4)


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
