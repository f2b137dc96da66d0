import time
from collections.abc import Callable, Mapping

from dse.errors import DseError
from dse.ports import Outcome, Request, Status
from evaluators.evaluation import finite_metrics

Evaluate = Callable[[Request], Mapping[str, float]]

_LONGEST_REASON = 500


def attempt(evaluate: Evaluate, request: Request) -> Outcome:
    """Measure one design and say how that ended; an exception is an outcome too."""
    started = time.perf_counter()
    metrics, reason = None, None
    try:
        metrics = finite_metrics(evaluate(request))
    except Exception as error:
        reason = describe(error)
    seconds = time.perf_counter() - started
    if seconds > request.timeout_s:
        return timed_out(request, seconds)
    status = Status.FAILED if metrics is None else Status.OK
    return Outcome(key=request.key, status=status, metrics=metrics, reason=reason, seconds=seconds)


def timed_out(request: Request, seconds: float) -> Outcome:
    reason = f"no result within {request.timeout_s:g} s"
    return Outcome(key=request.key, status=Status.TIMEOUT, reason=reason, seconds=seconds)


def describe(error: Exception) -> str:
    """Return a short text for an exception of any kind, whatever its own `str` does."""
    kind = type(error).__name__
    try:
        message = str(error)
    except Exception:
        message = ""
    text = message if isinstance(error, DseError) else f"{kind}: {message}".removesuffix(": ")
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"
