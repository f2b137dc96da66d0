"""A tenth of what `python -m benchmarks.faults` injects."""

from pathlib import Path

import pytest

from benchmarks.faults import run, undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_jobs_end_as_if_nothing_had_been_killed(engine: str, tmp_path: Path) -> None:
    references = {1: undisturbed(tmp_path, 1)}

    tally = run(engine, tmp_path, 5, references)

    assert tally.injected == 5
    assert tally.jobs >= 1
    assert (tally.differences, tally.orphans) == (0, 0)
