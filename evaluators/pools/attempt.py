import time
from collections.abc import Callable, Mapping

from dse.errors import DseError, Interrupted, StoreError
from dse.ports import Progress
from dse.tasks import Outcome, Retrained, Status, Task
from evaluators.evaluation import finite_metrics

Evaluate = Callable[[Task, Progress], Mapping[str, float] | Retrained]
"""Measures a design or retrains at it, telling how far it is."""

_LONGEST_REASON = 500


def attempt(evaluate: Evaluate, task: Task, progress: Progress) -> Outcome:
    """Do one task and say how that ended; an exception is an outcome too.

    Raises:
        Interrupted, StoreError: who watches `progress` left by it; that is no verdict on the task.
    """
    started = time.perf_counter()
    found, reason = None, None
    try:
        found = _checked(evaluate(task, progress))
    except (Interrupted, StoreError):
        raise
    except Exception as error:
        reason = describe(error)
    seconds = time.perf_counter() - started
    if seconds > task.timeout_s:
        return timed_out(task, seconds)
    return Outcome(
        key=task.key,
        status=Status.FAILED if found is None else Status.OK,
        metrics=None if isinstance(found, Retrained) else found,
        retrained=found if isinstance(found, Retrained) else None,
        reason=reason,
        seconds=seconds,
    )


def timed_out(task: Task, seconds: float) -> Outcome:
    reason = f"no result within {task.timeout_s:g} s"
    return Outcome(key=task.key, status=Status.TIMEOUT, reason=reason, seconds=seconds)


def describe(error: Exception) -> str:
    """Return a short text for an exception of any kind, whatever its own `str` does."""
    kind = type(error).__name__
    try:
        message = str(error)
    except Exception:
        message = ""
    text = message if isinstance(error, DseError) else f"{kind}: {message}".removesuffix(": ")
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"


def _checked(found: Mapping[str, float] | Retrained) -> dict[str, float] | Retrained:
    return found if isinstance(found, Retrained) else finite_metrics(found)
