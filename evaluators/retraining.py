"""Quantization-aware retraining: the network's own training, seen through a design's schemes.

Shadow weights in float, a forward pass through quantized weights and activations, straight-through
gradients (BinaryConnect style, as MOHAQ, arXiv 2108.01192, retrains its beacons).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from dse.design import Design
from dse.errors import EvaluationError
from dse.ports import Progress
from dse.tasks import CurvePoint, Retrained, Retraining
from evaluators.arithmetic.settings import settle_torch
from evaluators.checkpoints import Checkpoint, Checkpoints
from evaluators.data.vault import Vault
from evaluators.evaluation import finite_metrics
from evaluators.models.adam import Adam
from evaluators.models.training import Course
from evaluators.network import Batch, Lessons, Trainable
from evaluators.quantizers.beacon_file import BeaconWeights, dump_beacon
from evaluators.quantizers.behind import quantized_at, ranges_behind
from evaluators.quantizers.layers import QuantizedModel
from evaluators.quantizers.learned_sums import Learned, whole
from evaluators.quantizers.requests import read_schemes
from evaluators.quantizers.scheme import Scheme
from evaluators.quantizers.straight_through import ShadowModel
from evaluators.quantizers.tensor_range import TensorRange

_LABEL = "retraining"
_PREFIX = "exponents of "  # no module path has a blank
# Behind 2-bit inputs the float run's ranges are far off (docs/decisions/0005-beacons.md).
_ROUNDS, _ROUNDS_IN_TRAINING = 2, 1
# What is kept must be what was measured: a look takes as many samples as the file's ranges.
_SAMPLES, _SAMPLES_IN_TRAINING = 24, 16
# Adam moves a parameter by its rate, and a logarithm must move by halves to be another exponent.
_FASTER = 10
_BATCH_DRAW = 20

State = Mapping[str, Tensor]


@final
class Retrainer:
    """Retrains one network at designs.

    Weights depend on the network and the task alone, on one kind of processor: not on earlier
    tasks, and not on being killed and resumed.
    """

    def __init__(self, network: Trainable, *, vault: Vault, scratch: Path) -> None:
        """Take a prepared network.

        Args:
            vault: where weights go.
            scratch: folder for checkpoints, from which a killed task is resumed.
        """
        self._network = network
        self._vault = vault
        self._checkpoints = Checkpoints(scratch)
        self._lessons: Lessons | None = None

    def retrain(self, task: Retraining, progress: Progress) -> Retrained:
        """Retrain at the task's design; the weights of least error on the search split are left
        in the vault.

        Raises:
            SpecError, UnknownNameError: a design or arithmetic that cannot be obeyed.
            EvaluationError: the loss or an error is not finite.
            CacheError: a file cannot be written.
        """
        settle_torch()
        schemes = read_schemes(task.choices, task.arithmetic, self._network.shape.names)
        if self._lessons is None:
            self._lessons = self._network.lessons(progress)
        run = _Run(self._network, self._lessons, task, schemes, progress)
        stored = self._checkpoints.load(task.key)
        if stored is None:
            run.begin()
        else:
            run.resume(stored)
        while run.step < task.steps:
            run.advance()
            self._checkpoints.save(task.key, run.checkpoint())
        weights, step = run.found(self._about)
        document = dump_beacon(weights)
        retrained = Retrained(
            digest=self._vault.write(document),
            size=len(document),
            best_step=step,
            curve=tuple(run.curve),
        )
        self._checkpoints.drop(task.key)
        return retrained

    def _about(self, task: Retraining, step: int) -> dict[str, object]:
        return {
            "workload": self._network.name,
            "params": dict(self._network.params),
            "network": self._network.digest,
            "design": Design(task.choices).to_json(),
            "steps": task.steps,
            "step": step,
            "seed": task.seed,
        }


@dataclass(frozen=True, slots=True)
class _Best:
    step: int
    error: float
    state: State
    ranges: Mapping[str, TensorRange] | None


@final
class _Run:
    """A retraining under way, from one look at the search split to the next."""

    def __init__(
        self,
        network: Trainable,
        lessons: Lessons,
        task: Retraining,
        schemes: dict[str, Scheme],
        progress: Progress,
    ) -> None:
        self._network = network
        self._lessons = lessons
        self._task = task
        self._schemes = schemes
        self._progress = progress
        self._model = network.model()
        self._shadow = ShadowModel(self._model, schemes, learn=task.learn_exponents)
        self._course = Course(
            steps=task.steps,
            learning_rate=lessons.learning_rate,
            warmup=lessons.warmup,
            last_rate=lessons.last_rate,
        )
        self._noise = torch.Generator().manual_seed(task.seed)
        self._batches = self._drawn()
        self._adam = Adam(self._model.parameters(), self._logarithms.values())
        self.step = 0
        self.curve: list[CurvePoint] = []
        self._best: _Best | None = None

    def begin(self) -> None:
        """Look at the weights before the first batch."""
        self._look(None)

    def advance(self) -> None:
        """Train up to the next look, and look."""
        end = min(self.step + self._lessons.look, self._task.steps)
        total = 0.0
        begun = self.step
        for step in range(begun, end):
            self._fit(step, anew=step == begun)
            total += self._take(step)
            self.step = step + 1
            self._tell()
        self._look(total / (end - begun))

    def found(
        self, about: Callable[[Retraining, int], dict[str, object]]
    ) -> tuple[BeaconWeights, int]:
        """Return the best weights with their input ranges, and the step they are of."""
        best = self._seen()
        ranges = best.ranges or self.ranges(best.state, rounds=_ROUNDS, samples=_SAMPLES)
        weights = BeaconWeights(
            state=_weights(best.state),
            ranges={layer: one.freeze() for layer, one in ranges.items()},
            about=about(self._task, best.step),
            learned=self._learned(best.state),
        )
        return weights, best.step

    def checkpoint(self) -> Checkpoint:
        best = self._seen()
        return Checkpoint(
            step=self.step,
            curve=list(self.curve),
            best_step=best.step,
            best=best.state,
            model=self._state(),
            adam=self._adam.state(),
            noise=self._noise.get_state(),
        )

    def resume(self, stored: Checkpoint) -> None:
        """Go on where a checkpoint stands."""
        self._model.load_state_dict(_weights(stored.model))
        for name, logarithms in self._logarithms.items():
            logarithms.data = stored.model[name].clone()
        self._adam.restore(stored.adam)
        self._noise.set_state(stored.noise)
        for _ in range(stored.step):
            next(self._batches)
        self.step = stored.step
        self.curve = list(stored.curve)
        error = next(point.error for point in self.curve if point.step == stored.best_step)
        self._best = _Best(stored.best_step, error, stored.best, None)

    def ranges(self, state: State, *, rounds: int, samples: int) -> dict[str, TensorRange]:
        """Return the input ranges of weights at the task's schemes: a function of the weights
        alone, so that a resumed run finds what the killed one had."""
        return ranges_behind(
            lambda: self._holding(state),
            self._schemes,
            self._network.calibration()[:samples],
            rounds=rounds,
            learned=self._learned(state),
        )

    def _tell(self) -> None:
        # often enough, so that whoever watches can leave at once
        self._progress(_LABEL, self.step, self._task.steps)

    def _seen(self) -> _Best:
        if self._best is None:
            raise ValueError("a retraining has nothing to show before it is begun or resumed")
        return self._best

    def _holding(self, state: State) -> nn.Module:
        self._tell()
        model = self._network.model()
        model.load_state_dict(_weights(state))
        return model

    @property
    def _logarithms(self) -> dict[str, nn.Parameter]:
        return {_PREFIX + layer: one.log2 for layer, one in self._shadow.exponents.items()}

    def _state(self) -> State:
        """Return what is trained, as it is: the network's state and learned exponents."""
        learned = {name: one.detach().clone() for name, one in self._logarithms.items()}
        return {**_copy(self._model), **learned}

    def _learned(self, state: State) -> dict[str, Learned]:
        return {
            layer: Learned(scheme=self._schemes[layer], exponents=whole(state[_PREFIX + layer]))
            for layer in self._shadow.exponents
            if not bool(state[_PREFIX + layer].isnan().any())
        }

    def _look(self, loss: float | None) -> None:
        """Measure the weights as they are, in the arithmetic that counts; keep them if they are
        the best so far."""
        state = self._state()
        ranges = self.ranges(state, rounds=_ROUNDS, samples=_SAMPLES)
        with torch.no_grad():
            exact = self._quantized(state, ranges)
            metrics = finite_metrics(self._network.measure(exact.model, "search"))
        error = metrics["error"]
        self.curve.append(CurvePoint(step=self.step, loss=loss, error=error))
        if self._best is None or error < self._best.error:
            self._best = _Best(self.step, error, state, ranges)

    def _fit(self, step: int, *, anew: bool) -> None:
        # anew after every look, so that nothing a checkpoint lacks outlives one
        if anew or step % self._lessons.refit_weights == 0:
            self._shadow.fit_weights()
        if anew or step % self._lessons.refit_inputs == 0:
            self._fit_inputs()

    def _fit_inputs(self) -> None:
        state = self._state()
        ranges = self.ranges(state, rounds=_ROUNDS_IN_TRAINING, samples=_SAMPLES_IN_TRAINING)
        self._shadow.fit_inputs(ranges)
        if any(scheme.sums is not None for scheme in self._schemes.values()):
            operands = self._quantized(state, ranges).operands
            self._shadow.fit_sums({name: one.summation for name, one in operands.items()})

    def _quantized(self, state: State, ranges: Mapping[str, TensorRange]) -> QuantizedModel:
        # all samples give the units of sums, as they will when the weights are used
        samples = self._network.calibration()
        learned = self._learned(state)
        return quantized_at(self._holding(state), self._schemes, ranges, samples, learned)

    def _take(self, step: int) -> float:
        self._adam.clear()
        loss = self._lessons.loss(self._model, next(self._batches), self._noise)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise EvaluationError(
                f"retraining: the loss must be finite, got {value} at step {step}"
            )
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._model.parameters(), self._lessons.clip)
        rate = self._course.rate(step)
        self._adam.step(rate, rate * _FASTER)
        return value

    def _drawn(self) -> Iterator[Batch]:
        return self._lessons.batches(np.random.default_rng([self._task.seed, _BATCH_DRAW]))


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _weights(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not _is_learned(name)}


def _is_learned(name: str) -> bool:
    return name.startswith(_PREFIX)
