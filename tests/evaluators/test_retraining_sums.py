"""Beacons of designs whose partial sums are stored, their exponents calibrated or learned."""

from dataclasses import replace
from pathlib import Path

import pytest

from dse.design import Choices, Design
from dse.ports import Progress, silent
from dse.tasks import Request, Retrained, Retraining
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data.vault import Vault
from evaluators.evaluation import retraining_key
from evaluators.quantizers.beacon_file import dump_beacon, load_beacon
from evaluators.quantizers.requests import read_schemes
from evaluators.retraining import Retrainer
from tests.evaluators.fake_network import TinyTrainable
from tests.evaluators.test_retraining import Killed

_LAYERS = TinyTrainable().shape.names
_TILED: dict[str, int | str] = {"tile": 3, "dataflow": "ws"}
_STORED: Choices = {
    "w_bits": dict.fromkeys(_LAYERS, 8),
    "a_bits": dict.fromkeys(_LAYERS, 8),
    "psum_bits": dict.fromkeys(_LAYERS, 4),
    "psum_group": dict.fromkeys(_LAYERS, 2),
}
_BOTH = pytest.mark.parametrize("learn", [False, True])


def _task(*, learn: bool, steps: int = 40) -> Retraining:
    return Retraining(
        key=f"{Design(_STORED).hash}-{steps}-{learn}",
        choices=_STORED,
        arithmetic=dict.fromkeys(_LAYERS, _TILED),
        steps=steps,
        seed=1,
        timeout_s=60.0,
        learn_exponents=learn,
    )


def _retrain(folder: Path, wanted: Retraining, progress: Progress = silent) -> Retrained:
    network = TinyTrainable(look=20)
    retrainer = Retrainer(network, vault=Vault(folder / "vault"), scratch=folder / "scratch")
    return retrainer.retrain(wanted, progress)


def _error(folder: Path, weights: str | None, choices: Choices = _STORED) -> float:
    request = Request(
        key="k",
        choices=choices,
        arithmetic=dict.fromkeys(_LAYERS, _TILED),
        split="search",
        timeout_s=60.0,
        weights=weights,
    )
    evaluator = AccuracyEvaluator(TinyTrainable(), Vault(folder / "vault"))
    return evaluator.evaluate(request)["error"]


@_BOTH
def test_a_design_of_narrow_sums_comes_back(tmp_path: Path, learn: bool) -> None:
    made = _retrain(tmp_path, _task(learn=learn, steps=100))

    errors = {point.step: point.error for point in made.curve}
    assert errors[made.best_step] == _error(tmp_path, made.digest)
    assert errors[made.best_step] < min(errors[0], _error(tmp_path, None)) - 2


@pytest.mark.parametrize(("learn", "after"), [(False, 33), (True, 20), (True, 33)])
def test_a_killed_retraining_goes_on_to_the_very_same_weights(
    tmp_path: Path, learn: bool, after: int
) -> None:
    undisturbed = _retrain(tmp_path / "a", _task(learn=learn))

    def dying(label: str, done: int, total: int) -> None:
        if done == after:
            raise Killed

    with pytest.raises(Killed):
        _retrain(tmp_path / "b", _task(learn=learn), dying)

    assert _retrain(tmp_path / "b", _task(learn=learn)) == undisturbed


def test_learned_exponents_hold_at_the_beacons_own_scheme_alone(tmp_path: Path) -> None:
    made = _retrain(tmp_path, _task(learn=True, steps=60))
    vault = Vault(tmp_path / "vault")
    weights = load_beacon(vault.read(made.digest))
    schemes = read_schemes(_STORED, dict.fromkeys(_LAYERS, _TILED), _LAYERS)

    found = {name: one.scheme for name, one in weights.learned.items()}
    far = {
        name: replace(one, exponents=tuple(e + 6 for e in one.exponents))
        for name, one in weights.learned.items()
    }
    other = vault.write(dump_beacon(replace(weights, learned=far)))
    plain = vault.write(dump_beacon(replace(weights, learned={})))

    assert found == schemes
    assert _error(tmp_path, other) > _error(tmp_path, made.digest) + 5
    wider: Choices = {**_STORED, "psum_bits": dict.fromkeys(_LAYERS, 6)}
    exact: Choices = {**_STORED, "a_bits": {}}
    for near in (wider, exact):
        assert _error(tmp_path, other, near) == _error(tmp_path, plain, near)


def test_a_file_without_learned_exponents_is_of_the_older_format(tmp_path: Path) -> None:
    made = _retrain(tmp_path, _task(learn=False, steps=20))

    document = Vault(tmp_path / "vault").read(made.digest)
    assert b"beacon-dse beacon 2" in document
    assert load_beacon(document).learned == {}


def test_learning_exponents_is_another_retraining() -> None:
    keys = {
        retraining_key(
            workload="tiny",
            digest="0",
            choices=_STORED,
            arithmetic=dict.fromkeys(_LAYERS, _TILED),
            steps=20,
            seed=1,
            learn_exponents=learn,
        )
        for learn in (False, True)
    }

    assert len(keys) == 2
