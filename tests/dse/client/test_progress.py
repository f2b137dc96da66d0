import io

from dse.client import Event, JobView
from dse.client.progress import ProgressLine
from tests.dse.client.fakes import event_data, generation_event, job_data, state_event

JOB = JobView.model_validate(job_data(generations=4))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _drawn(file: io.StringIO, *events: object, shown: bool = True) -> list[str]:
    with ProgressLine(JOB, shown=shown, file=file) as line:
        for event in events:
            line.update(Event.model_validate(event))
    return file.getvalue().split("\r\x1b[K")[1:]


def test_line_tells_generations_front_and_hypervolume() -> None:
    drawn = _drawn(Terminal(), state_event(1, "LEASED"), generation_event(2, 1))

    assert drawn[0] == f"[{'-' * 24}] 0/4 READY  a search"
    assert drawn[-1] == (
        f"[{'#' * 12}{'-' * 12}] 2/4 LEASED  front 2, hypervolume 0.5  a search\n"
    )


def test_line_grows_with_a_job_that_was_extended() -> None:
    drawn = _drawn(Terminal(), generation_event(1, 3), state_event(2, "READY", generations=8))

    assert "] 4/8 READY" in drawn[-1]


def test_line_tells_the_step_until_something_comes_of_it() -> None:
    step = event_data(1, "job.progress", label="training", done=5, total=16)

    drawn = _drawn(Terminal(), step, generation_event(2, 0))

    assert "0/4 READY  training 5/16  a search" in drawn[1]
    assert "training" not in drawn[2]


def test_line_does_not_go_back_when_old_events_are_told_again() -> None:
    assert "] 3/4 " in _drawn(Terminal(), generation_event(1, 2), generation_event(2, 0))[-1]


def test_line_passes_over_other_events() -> None:
    assert len(_drawn(Terminal(), event_data(1, "search.exhausted", generation=1))) == 2


def test_nothing_is_drawn_off_a_terminal_or_when_not_wanted() -> None:
    assert _drawn(io.StringIO(), generation_event(1, 0)) == []
    assert _drawn(Terminal(), generation_event(1, 0), shown=False) == []
