"""What a pool's process works with: one network, measured and retrained."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast, final

from dse.errors import EvaluationError
from dse.ports import Progress, silent
from dse.tasks import Request, Retrained, Task
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data.cache import Cache
from evaluators.data.vault import Vault
from evaluators.network import Network, Trainable
from evaluators.registry import Places, make_workload
from evaluators.retraining import Retrainer


def make_evaluator(
    workload: str,
    params: Mapping[str, object],
    places: Places,
    scratch: Path,
    digest: str | None = None,
) -> "Evaluator":
    """Make a workload by name and prepare it for the tasks of one job.

    Args:
        scratch: the job's folder for what is half done.
        digest: what the network's must be; None: whatever it is.

    Raises:
        EvaluationError: the workload is a shape without a network, or the network is another.
    """
    made = make_workload(workload, params, places)
    if not made.metrics:
        raise EvaluationError(f"workload {workload!r} is shape-only: it has no network to run")
    network = cast(Network, made)
    network.prepare(silent)
    if digest not in (None, network.digest):
        raise EvaluationError(
            f"workload {workload!r} is another network than when the job began (digest {digest}, "
            f"then {network.digest}): it was replaced or edited meanwhile, or its model or data "
            "depend on chance, which they must not"
        )
    return Evaluator(
        network,
        vault=Vault(places.beacons),
        scratch=scratch,
        cache=Cache(places.home / "cache"),
    )


@final
class Evaluator:
    """Does tasks; an `evaluators.pools.attempt.Evaluate`.

    Attributes:
        network: what it works with, prepared.
    """

    def __init__(
        self, network: Network, *, vault: Vault, scratch: Path, cache: Cache | None = None
    ) -> None:
        self.network = network
        self._accuracy = AccuracyEvaluator(network, vault, cache)
        self._retrainer = None
        if network.trainable:
            self._retrainer = Retrainer(cast(Trainable, network), vault=vault, scratch=scratch)

    def __call__(self, task: Task, progress: Progress) -> Mapping[str, float] | Retrained:
        """Measure or retrain.

        Raises:
            DseError: as `AccuracyEvaluator.evaluate` and `Retrainer.retrain` say.
        """
        if isinstance(task, Request):
            return self._accuracy.evaluate(task)
        if self._retrainer is None:
            raise EvaluationError("the workload has no training data: it cannot be retrained")
        return self._retrainer.retrain(task, progress)
