from pathlib import Path

import pytest
from safetensors.torch import load

from dse.design import Choices, Design
from dse.errors import EvaluationError, SpecError, WeightsError
from dse.ports import Progress, silent
from dse.tasks import Request, Retrained, Retraining
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data.vault import Vault
from evaluators.quantizers.beacon_file import dump_beacon, load_beacon
from evaluators.retraining import Retrainer
from evaluators.tasks import Evaluator
from tests.evaluators.fake_mixed import MixedNetwork, everywhere
from tests.evaluators.fake_network import TinyNetwork, TinyTrainable

LOW: Choices = {
    "w_bits": {"first": 2, "second": 2, "out": 2},
    "a_bits": {"first": 4, "second": 2, "out": 4},
}


class Killed(BaseException):
    """What ends a process in the middle."""


def task(*, steps: int = 40, seed: int = 1, choices: Choices = LOW) -> Retraining:
    return Retraining(
        key=f"{Design(choices).hash}-{steps}-{seed}",
        choices=choices,
        arithmetic={},
        steps=steps,
        seed=seed,
        timeout_s=60.0,
    )


def request(*, weights: str | None = None, choices: Choices = LOW) -> Request:
    return Request(
        key="k", choices=choices, arithmetic={}, split="search", timeout_s=60.0, weights=weights
    )


def retrain(
    folder: Path,
    wanted: Retraining,
    network: TinyTrainable | None = None,
    progress: Progress = silent,
) -> Retrained:
    retrainer = Retrainer(
        network or TinyTrainable(), vault=Vault(folder / "vault"), scratch=folder / "scratch"
    )
    return retrainer.retrain(wanted, progress)


def error(folder: Path, weights: str | None, choices: Choices = LOW) -> float:
    evaluator = AccuracyEvaluator(TinyTrainable(), Vault(folder / "vault"))
    return evaluator.evaluate(request(weights=weights, choices=choices))["error"]


def test_a_low_bit_design_comes_back(tmp_path: Path) -> None:
    retrained = retrain(tmp_path, task(steps=100), TinyTrainable(look=50))

    assert error(tmp_path, retrained.digest) < 0.8 * error(tmp_path, None)


def test_neighbours_gain_from_its_weights_too(tmp_path: Path) -> None:
    retrained = retrain(tmp_path, task(steps=100), TinyTrainable(look=50))
    near: Choices = {**LOW, "w_bits": {"first": 2, "second": 4, "out": 2}}

    assert error(tmp_path, retrained.digest, near) < error(tmp_path, None, near)


def test_the_weights_kept_are_those_of_the_best_look(tmp_path: Path) -> None:
    retrained = retrain(tmp_path, task(steps=40))

    errors = {point.step: point.error for point in retrained.curve}
    assert list(errors) == [0, 10, 20, 30, 40]
    assert errors[retrained.best_step] == min(errors.values())
    assert errors[retrained.best_step] == error(tmp_path, retrained.digest)
    assert [point.loss is None for point in retrained.curve] == [True] + 4 * [False]


def test_the_same_task_gives_the_same_file_and_another_seed_another(tmp_path: Path) -> None:
    first = retrain(tmp_path / "a", task())

    assert retrain(tmp_path / "b", task()) == first
    assert retrain(tmp_path / "b", task(seed=2)).digest != first.digest


def test_earlier_tasks_leave_no_trace(tmp_path: Path) -> None:
    retrainer = Retrainer(TinyTrainable(), vault=Vault(tmp_path), scratch=tmp_path / "s")
    retrainer.retrain(task(seed=5), silent)

    assert retrainer.retrain(task(), silent) == retrain(tmp_path / "b", task())


@pytest.mark.parametrize("after", [1, 9, 10, 11, 25, 39])
def test_a_killed_retraining_goes_on_to_the_very_same_weights(tmp_path: Path, after: int) -> None:
    undisturbed = retrain(tmp_path / "a", task())
    seen: list[int] = []

    def dying(label: str, done: int, total: int) -> None:
        if label == "retraining" and done == after:
            raise Killed

    def watching(label: str, done: int, total: int) -> None:
        if label == "retraining":
            seen.append(done)

    with pytest.raises(Killed):
        retrain(tmp_path / "b", task(), progress=dying)
    assert retrain(tmp_path / "b", task(), progress=watching) == undisturbed
    assert seen[0] == (after - 1) // 10 * 10


def test_nothing_half_done_stays_behind(tmp_path: Path) -> None:
    retrained = retrain(tmp_path, task())

    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [f"{retrained.digest}.safetensors"]


def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path) -> None:
    undisturbed = retrain(tmp_path / "a", task())

    def dying(label: str, done: int, total: int) -> None:
        if label == "retraining" and done == 25:
            raise Killed

    with pytest.raises(Killed):
        retrain(tmp_path / "b", task(), progress=dying)
    (checkpoint,) = (tmp_path / "b" / "scratch").iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:-7])

    assert retrain(tmp_path / "b", task()) == undisturbed


def test_every_step_is_told_of(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    retrain(tmp_path, task(), progress=lambda *seen: told.append(seen))

    steps = [done for label, done, total in told if (label, total) == ("retraining", 40)]
    assert list(dict.fromkeys(steps)) == list(range(41))
    assert steps == sorted(steps)


def test_a_loss_that_is_not_finite_ends_it_by_name(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="loss must be finite, got nan at step 13"):
        retrain(tmp_path, task(), TinyTrainable(poison=13))

    assert not (tmp_path / "vault").exists()


def test_the_file_is_a_state_dict_that_says_where_it_comes_from(tmp_path: Path) -> None:
    retrained = retrain(tmp_path, task())
    document = Vault(tmp_path / "vault").read(retrained.digest)

    model = TinyNetwork().model()
    model.load_state_dict(load(document))
    found = load_beacon(document)
    assert found.about["design"] == LOW
    assert found.about["steps"] == 40
    assert found.about["network"] == TinyNetwork.digest
    assert len(document) == retrained.size
    assert dump_beacon(found) == document


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    class Other(TinyTrainable):
        digest = "1" * 64

    retrained = retrain(tmp_path, task())
    evaluator = AccuracyEvaluator(Other(), Vault(tmp_path / "vault"))

    with pytest.raises(WeightsError, match="retrained from network 0000.*not from 1111"):
        evaluator.evaluate(request(weights=retrained.digest))


def test_altered_and_missing_weights_are_never_run_on(tmp_path: Path) -> None:
    retrained = retrain(tmp_path, task())
    path = Vault(tmp_path / "vault").path(retrained.digest)
    document = bytearray(path.read_bytes())
    document[-1] ^= 1
    path.write_bytes(document)
    with pytest.raises(WeightsError, match="altered"):
        error(tmp_path, retrained.digest)
    path.unlink()

    with pytest.raises(WeightsError, match="missing"):
        error(tmp_path, retrained.digest)


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x02\0\0\0\0\0\0\0{}", 8 * b"\xff" + b"{}"])
def test_what_is_no_beacon_file_is_refused(junk: bytes) -> None:
    with pytest.raises(WeightsError, match="no beacon weights"):
        load_beacon(junk)


def test_base_results_do_not_depend_on_beacons_seen_before(tmp_path: Path) -> None:
    retrained = retrain(tmp_path, task())
    evaluator = AccuracyEvaluator(TinyTrainable(), Vault(tmp_path / "vault"))
    before = evaluator.evaluate(request())

    evaluator.evaluate(request(weights=retrained.digest))

    assert evaluator.evaluate(request()) == before


def test_a_network_without_training_data_refuses_to_be_retrained(tmp_path: Path) -> None:
    evaluate = Evaluator(TinyNetwork(), vault=Vault(tmp_path), scratch=tmp_path)

    with pytest.raises(EvaluationError, match="no training data"):
        evaluate(task(), silent)


def test_a_width_that_does_not_exist_is_refused_before_any_step(tmp_path: Path) -> None:
    wrong: Choices = {**LOW, "w_bits": {"first": 11, "second": 2, "out": 2}}

    with pytest.raises(SpecError, match="w_bits at layer 'first'.*11"):
        retrain(tmp_path, task(choices=wrong))


@pytest.mark.parametrize(
    "choices",
    [
        everywhere(2, w_granularity="channel", a_symmetry="asymmetric"),
        everywhere(3, act_quantizer="percentile"),
    ],
)
def test_every_kind_of_product_and_scheme_is_retrained(tmp_path: Path, choices: Choices) -> None:
    vault = Vault(tmp_path / "vault")
    retrainer = Retrainer(MixedNetwork(), vault=vault, scratch=tmp_path / "scratch")

    retrained = retrainer.retrain(task(steps=15, choices=choices), silent)

    evaluator = AccuracyEvaluator(MixedNetwork(), vault)
    measured = evaluator.evaluate(request(weights=retrained.digest, choices=choices))
    errors = {point.step: point.error for point in retrained.curve}
    assert measured["error"] == errors[retrained.best_step] == min(errors.values())
    assert min(errors.values()) < errors[0]


def test_neighbours_of_any_scheme_run_on_a_beacons_weights(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault")
    retrainer = Retrainer(MixedNetwork(), vault=vault, scratch=tmp_path / "scratch")
    digest = retrainer.retrain(task(steps=5, choices=everywhere(4)), silent).digest
    evaluator = AccuracyEvaluator(MixedNetwork(), vault)

    spreads = {
        evaluator.evaluate(request(weights=digest, choices=near))["spread"]
        for near in (
            everywhere(4),
            everywhere(4, act_quantizer="absmax"),
            everywhere(4, a_symmetry="asymmetric"),
            everywhere(4, w_granularity="channel"),
        )
    }

    assert len(spreads) == 4
