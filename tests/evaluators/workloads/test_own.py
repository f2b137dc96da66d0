from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dse.errors import EvaluationError, SpecError, UnknownNameError
from dse.ports import silent
from dse.tasks import Request, Retraining
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data.cache import Cache
from evaluators.data.vault import Vault
from evaluators.network import Trainable
from evaluators.registry import Places
from evaluators.retraining import Retrainer
from evaluators.workloads.definition import Definition, Labelled
from evaluators.workloads.own import OwnNetwork, network_from

_DRAWN = torch.Generator().manual_seed(1)
INPUTS = torch.randn(50, 6, generator=_DRAWN)
LABELS = INPUTS[:, :3].argmax(1)
_PARTS = torch.split(INPUTS, 16), torch.split(LABELS, 16)
PAIRS: list[Labelled] = list(zip(*_PARTS, strict=True))


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def _fit(model: nn.Module) -> None:
    adam = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        adam.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(INPUTS), LABELS))
        adam.step()


def _definition(**changed: Any) -> Definition:
    parts: dict[str, Any] = {
        "model": _network,
        "calibration": [inputs for inputs, _ in PAIRS],
        "search": PAIRS,
        "test": PAIRS[1:],
        "metric": "top1-error",
    }
    return Definition(**{**parts, **changed})


def _own(folder: Path, *, source: str = "0" * 64, **changed: Any) -> OwnNetwork:
    cache = Cache(folder / "cache")
    return OwnNetwork("own", _definition(**changed), params={}, cache=cache, source=source)


def _prepared(folder: Path, **changed: Any) -> OwnNetwork:
    network = _own(folder, **changed)
    network.prepare(silent)
    return network


def _trainable(network: Trainable) -> Trainable:
    return network


def test_shape_is_known_before_anything_is_fitted(tmp_path: Path) -> None:
    def never(model: nn.Module) -> None:
        raise AssertionError

    network = _own(tmp_path, fit=never)

    assert network.shape.names == ("0", "2")
    assert network.shape.macs == 6 * 16 + 16 * 3
    assert network.floats == ()
    with pytest.raises(EvaluationError, match="'own' must be prepared"):
        _ = network.digest


def test_fitted_network_is_measured_over_all_samples(tmp_path: Path) -> None:
    network = _prepared(tmp_path, fit=_fit)

    model = network.model()
    with torch.no_grad():
        wrong = (model(INPUTS).argmax(1) != LABELS).double().mean()

    assert network.measure(model, "search")["error"] == pytest.approx(100 * float(wrong))
    assert network.measure(model, "search")["error"] < 20
    with pytest.raises(UnknownNameError, match="'train'; allowed: search, test"):
        network.measure(model, "train")


def test_network_is_fitted_once(tmp_path: Path) -> None:
    fits: list[int] = []

    def fit(model: nn.Module, progress: Any) -> None:
        fits.append(1)
        progress("fitting", 1, 1)
        _fit(model)

    first = _prepared(tmp_path, fit=fit)
    again = _prepared(tmp_path, fit=fit)
    other = _prepared(tmp_path, fit=fit, source="1" * 64)

    assert len(fits) == 2
    assert first.digest == again.digest
    assert first.digest != other.digest
    for name, tensor in first.model().state_dict().items():
        assert torch.equal(tensor, again.model().state_dict()[name])


def test_fitting_does_not_depend_on_chance(tmp_path: Path) -> None:
    torch.manual_seed(5)
    first = _prepared(tmp_path / "a", fit=_fit)
    torch.manual_seed(6)
    second = _prepared(tmp_path / "b", fit=_fit)

    assert first.digest == second.digest


def test_seed_of_the_caller_is_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()

    _prepared(tmp_path, fit=_fit).model()

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "changed",
    [
        {"calibration": [INPUTS[:8]]},
        {"search": PAIRS[:2]},
        {"test": PAIRS[:1]},
        {"train": PAIRS},
        {"metric": "top5-error"},
        {"model": lambda: nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3, False))},
    ],
)
def test_digest_covers_data_weights_and_metric(changed: dict[str, Any], tmp_path: Path) -> None:
    assert _prepared(tmp_path, **changed).digest != _prepared(tmp_path).digest


def test_tied_weights_can_be_fitted_and_kept(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
        model[1].weight = model[0].weight
        return model

    network = _prepared(tmp_path, model=tied, fit=_fit)

    state = network.model().state_dict()
    assert torch.equal(state["0.weight"], state["1.weight"])


def test_quantized_at_16_bits_it_is_as_good_as_in_float(tmp_path: Path) -> None:
    network = _prepared(tmp_path, fit=_fit)
    evaluator = AccuracyEvaluator(network)
    found = {}
    for bits in (None, 16, 8):
        knobs = ("w_bits", "a_bits")
        choices = bits and {knob: dict.fromkeys(network.shape.names, bits) for knob in knobs}
        request = Request(
            key="", choices=choices or None, arithmetic={}, split="search", timeout_s=60
        )
        found[bits] = evaluator.evaluate(request)["error"]

    assert found[16] == found[None]
    assert found[8] == pytest.approx(found[None], abs=4)


class _Sick(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.inner(inputs * self.factor)
        return outputs


class _Writing(nn.Module):
    """Writes to its input and has a mask of -inf."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.inner(inputs.mul_(1.7).add_(0.3))
        return outputs


class _Chance(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.inner(nn.functional.dropout(inputs, 0.5))
        return outputs


class _Remembering(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"runs": 1}

    def set_extra_state(self, state: dict[str, int]) -> None: ...


def test_parameters_are_part_of_a_networks_identity(tmp_path: Path) -> None:
    def digest(slope: float) -> str:
        network = OwnNetwork(
            "own",
            _definition(),
            params={"slope": slope},
            cache=Cache(tmp_path / "cache"),
            source="0" * 64,
        )
        network.prepare(silent)
        return network.digest

    assert digest(0.0) == digest(0.0) != digest(8.0)


def test_networks_that_write_to_their_input_leave_the_data_as_they_are(tmp_path: Path) -> None:
    given = [(inputs.clone(), labels) for inputs, labels in zip(*_PARTS, strict=True)]
    network = _prepared(
        tmp_path,
        model=_Writing,
        calibration=[inputs for inputs, _ in given],
        search=given,
        train=given,
    )
    choices = {knob: {"inner": 4} for knob in ("w_bits", "a_bits")}
    request = Request(key="", choices=choices, arithmetic={}, split="search", timeout_s=1.0)
    evaluator = AccuracyEvaluator(network)

    found = [evaluator.evaluate(request) for _ in range(3)]
    lessons = network.lessons(silent)
    lessons.loss(network.model(), next(lessons.batches(np.random.default_rng(0))), _DRAWN)

    assert found[0] == found[1] == found[2]
    for (inputs, _), kept in zip(given, _PARTS[0], strict=True):
        assert torch.equal(inputs, kept)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": _Chance}, "same outputs whenever it is run on the same batch"),
        (
            {"model": lambda: nn.Sequential(_Remembering(6, 3), nn.Linear(3, 3))},
            "must consist of tensors, but '0._extra_state' is a dict",
        ),
        ({"model": lambda: nn.Sequential(nn.LazyLinear(3))}, "'weight' of module '0' is lazy"),
        ({"model": lambda: _Sick(float("nan"))}, "search batch 0: layer 'inner' returns what is"),
        ({"search": [(INPUTS[:, :5], LABELS)]}, r"batch 0: layer '0' does not take .*\(50, 5\)"),
        ({"search": [(INPUTS, LABELS + 9)]}, "batch 0: targets must be classes 0 .. 2"),
        ({"search": [(INPUTS, INPUTS)]}, r"batch 0: top1-error needs .* float32 \(50, 6\)"),
        ({"metric": lambda outputs, targets: outputs}, r"batch 0: the metric must return one"),
        ({"metric": lambda outputs, targets: 1 / 0}, "batch 0: ZeroDivisionError"),
        ({"model": dict}, r"model\(\) must return an nn.Module, got dict"),
        ({"fit": lambda model: model[0].bias.data.fill_(torch.inf)}, "0.bias must be finite"),
    ],
)
def test_what_is_wrong_with_model_or_data_is_named(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match=message):
        _prepared(tmp_path, **changed)


def test_batches_come_in_another_order_each_epoch_but_always_the_same_ones(
    tmp_path: Path,
) -> None:
    lessons = _trainable(_prepared(tmp_path, train=PAIRS)).lessons(silent)

    def sums(seed: int) -> list[float]:
        batches = lessons.batches(np.random.default_rng(seed))
        return [float(inputs.sum()) for inputs, _ in islice(batches, 3 * len(PAIRS))]

    drawn = sums(1)
    epochs = [drawn[at : at + len(PAIRS)] for at in range(0, len(drawn), len(PAIRS))]
    assert drawn == sums(1) != sums(2)
    assert [sorted(epoch) for epoch in epochs] == [sorted(epochs[0])] * 3
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_epochs_may_be_made_by_a_function(tmp_path: Path) -> None:
    def epoch(random: np.random.Generator) -> Iterator[Labelled]:
        chosen = torch.from_numpy(random.permutation(50)[:8])
        yield INPUTS[chosen], LABELS[chosen]

    network = _prepared(tmp_path, train=epoch)

    assert network.trainable
    batches = network.lessons(silent).batches(np.random.default_rng(0))
    assert [len(labels) for _, labels in islice(batches, 5)] == [8] * 5


def test_training_without_batches_ends_in_an_error(tmp_path: Path) -> None:
    network = _prepared(tmp_path, train=lambda random: [])

    with pytest.raises(EvaluationError, match="train yields no batch"):
        next(network.lessons(silent).batches(np.random.default_rng(0)))


def test_mean_squared_error_is_not_broadcast_in_retraining(tmp_path: Path) -> None:
    flat = LABELS.float()
    column = flat.unsqueeze(1)
    made = _prepared(
        tmp_path,
        model=lambda: nn.Sequential(nn.Linear(6, 1)),
        metric="mse",
        search=[(INPUTS, column)],
        test=[(INPUTS, column)],
        train=[(INPUTS, flat)],
    )
    lessons, model = _trainable(made).lessons(silent), made.model()

    with pytest.raises(EvaluationError, match="mse needs outputs and targets of one shape"):
        lessons.loss(model, (INPUTS, flat), _DRAWN)
    found = lessons.loss(model, (INPUTS, column), _DRAWN)

    assert found.requires_grad
    wanted = (model(INPUTS) - column).square().mean()
    assert found.item() == pytest.approx(wanted.item())


def test_network_without_training_batches_has_no_lessons(tmp_path: Path) -> None:
    network = _prepared(tmp_path)

    assert not network.trainable
    with pytest.raises(EvaluationError, match="'own' has no training data"):
        network.lessons(silent)


def test_network_can_be_retrained(tmp_path: Path) -> None:
    network = _prepared(tmp_path, fit=_fit, train=PAIRS)
    vault = Vault(tmp_path / "beacons")
    task = Retraining(
        key="k",
        choices={knob: dict.fromkeys(("0", "2"), 2) for knob in ("w_bits", "a_bits")},
        arithmetic={},
        steps=60,
        seed=1,
        timeout_s=60,
    )

    told = Retrainer(network, vault=vault, scratch=tmp_path / "scratch").retrain(task, silent)

    assert told.curve[-1].error < told.curve[0].error or told.best_step == 0
    assert vault.intact(told.digest)


def test_whatever_else_is_returned_is_refused(tmp_path: Path) -> None:
    told: Any = {"name": "x", "params": {}, "places": Places(home=tmp_path), "source": "0"}

    network = _prepared(tmp_path)

    assert network_from(network, **told) is network
    with pytest.raises(SpecError, match="x must return a Definition or a network, got NoneType"):
        network_from(None, **told)
