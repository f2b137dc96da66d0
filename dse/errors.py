"""The errors of beacon-dse.

DseError
├── SpecError (ValueError)         a job spec, design or option that cannot be used as given
├── UnknownNameError (LookupError) a workload, platform, knob, metric or layer that does not exist
├── CacheError (OSError)           a file under DSE_HOME that cannot be written or read
├── WeightsError                   weights that are missing, altered or another network's
├── StoreError                     the database refuses: altered, newer or broken
│   ├── FencedOutError             another driver has taken this job over: write nothing more
│   └── StoreUnavailableError      the database is locked, full or away for now: try again
├── ConflictError                  what was asked of a job does not go with its state
├── DriftError                     a resumed run proposes other designs than the stored ones, or
│                                  measures another network, or costs on another platform
├── EvaluationError                no design can be measured: the evaluator itself does not work
└── Interrupted                    a stop was asked for; everything finished is stored
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

Place = tuple[str | int, ...]


class DseError(Exception):
    """Base of every error that beacon-dse raises on purpose; its text is fit for a user.

    Attributes:
        at: where in a job spec the error is, as keys and indices; empty: unknown, or nowhere.
    """

    at: Place = ()


class SpecError(DseError, ValueError):
    """Something given cannot be used; the message names it and what is allowed."""

    def __init__(self, message: str = "", *, at: Place = ()) -> None:
        self.at = at
        super().__init__(message)


class UnknownNameError(DseError, LookupError):
    """A name that does not exist; the message lists the ones that do."""

    def __init__(self, kind: str, given: object, allowed: Iterable[str]) -> None:
        self.kind = kind
        self.given = given
        self.allowed = tuple(allowed)
        names = ", ".join(self.allowed) or "none"
        super().__init__(f"unknown {kind} {given!r}; allowed: {names}")


@contextmanager
def located(*place: str | int) -> Iterator[None]:
    """Let a SpecError or UnknownNameError raised inside be about this place of a job spec, unless
    it says where it is."""
    try:
        yield
    except (SpecError, UnknownNameError) as error:
        error.at = error.at or place
        raise


class CacheError(DseError, OSError):
    """A cache file could not be written or read."""


class WeightsError(DseError):
    """Weights cannot be used: their file is missing, altered or not what it should be."""


class StoreError(DseError):
    """The database cannot serve the request."""


class FencedOutError(StoreError):
    """Another driver holds the job now."""


class StoreUnavailableError(StoreError):
    """The database cannot be had now; nothing is wrong with what was asked of it."""


class ConflictError(DseError):
    """The job's state forbids it; the message names the state and the ones that allow it."""

    def __init__(self, job_id: str, action: str, state: str, allowed: Iterable[str]) -> None:
        self.job_id = job_id
        self.action = action
        self.state = state
        self.allowed = tuple(allowed)
        names = ", ".join(self.allowed)
        super().__init__(f"job {job_id} is {state} and cannot be {action}; allowed: {names}")


class DriftError(DseError):
    """A resumed run would not repeat what is stored."""

    @classmethod
    def other_network(cls, where: str) -> "DriftError":
        """Return the error of figures that stem from another network than the one at hand.

        Args:
            where: what of the job they belong to.
        """
        return cls(
            f"{where} was measured on another network than workload and torch give here: what "
            "a job found must not be mixed; allowed: put back the network that the job began "
            "with, or start another job (clone this one, or give the spec another search.seed)"
        )

    @classmethod
    def other_platform(cls, name: str) -> "DriftError":
        """Return the error of costs that stem from another version of a platform."""
        return cls(
            f"platform {name!r} is another one than the job began with: costs of two versions "
            "must not be mixed; allowed: put back the definition that the job began with "
            "(`dse platforms add FILE --replace`), or start another job (clone this one, or "
            "give the spec another search.seed)"
        )


class EvaluationError(DseError):
    """The evaluator does not work at all."""


class Interrupted(DseError):
    """The run was asked to stop; what is finished is stored."""
