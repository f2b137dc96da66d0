"""A tenth of what `python -m benchmarks.faults` injects."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults import run


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_jobs_end_as_if_nothing_had_been_killed(
    engine: str, service_home: Path, undisturbed_job: dict[str, Any]
) -> None:
    tally = run(engine, service_home, 5, {1: undisturbed_job})

    assert tally.injected == 5
    assert tally.jobs >= 1
    assert (tally.differences, tally.orphans) == (0, 0)
