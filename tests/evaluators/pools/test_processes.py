import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import pytest

from dse.errors import EvaluationError, SpecError
from dse.tasks import Status
from evaluators.pools.processes import ProcessPool, available_cores
from tests.evaluators.pools.fakes import collect, request, retraining

_FAKES = "tests.evaluators.pools.fakes"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[ProcessPool]:
    arguments = (str(tmp_path),)
    with closing(ProcessPool(f"{_FAKES}:obedient", arguments=arguments, slots=2)) as made:
        yield made


def _children() -> set[int]:
    """Return the ids of this process's children, zombies too, whoever started them."""
    return {child.pid for child in psutil.Process().children() if not _is_tracker(child)}


def _is_tracker(child: psutil.Process) -> bool:
    try:
        return any("resource_tracker" in word for word in child.cmdline())
    except psutil.ZombieProcess:
        return False


def _grandchildren() -> list[psutil.Process]:
    return [
        grandchild
        for child in psutil.Process().children()
        for grandchild in child.children(recursive=True)
    ]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("kill-1", "killed by SIGKILL"),
        ("exit-1", "ended with status 3"),
        ("fork-1", "ended with status 9"),
    ],
)
def test_death_of_a_child_costs_one_request(pool: ProcessPool, key: str, reason: str) -> None:
    keys = ["echo-1", key, "echo-2", "echo-3", "echo-4"]

    pool.submit([request(key) for key in keys])
    found = collect(pool, len(keys))

    assert found[key].status is Status.LOST
    assert reason in str(found[key].reason)
    assert [found[k].status for k in keys if k != key] == [Status.OK] * 4


def test_lost_request_may_be_submitted_again(pool: ProcessPool) -> None:
    pool.submit([request("once-1")])
    assert collect(pool, 1)["once-1"].status is Status.LOST

    pool.submit([request("once-1")])

    assert collect(pool, 1)["once-1"].status is Status.OK


def test_warm_pool_has_a_child_that_has_loaded(pool: ProcessPool) -> None:
    before = _children()
    pool.warm()
    loaded = _children() - before

    pool.submit([request("echo-1")])

    assert collect(pool, 1)["echo-1"].status is Status.OK
    assert len(loaded) == 1
    assert _children() - before == loaded


def test_warming_tells_that_the_evaluator_cannot_be_loaded() -> None:
    with (
        closing(ProcessPool(f"{_FAKES}:refusing", slots=1)) as broken,
        pytest.raises(EvaluationError, match="eaten"),
    ):
        broken.warm()


def test_child_that_dies_while_idle_is_replaced_unnoticed(pool: ProcessPool) -> None:
    pool.submit([request("pid-1")])
    metrics = collect(pool, 1)["pid-1"].metrics
    assert metrics is not None
    child = psutil.Process(int(metrics["error"]))
    child.kill()
    # a process has ended before its last thread lets go of the pipe
    assert wait([slot.connection for slot in pool._slots], 5.0)

    pool.submit([request("pid-2")])
    found = collect(pool, 1)["pid-2"]

    assert found.status is Status.OK
    assert found.metrics != metrics


def test_child_that_ignores_sigterm_is_killed_at_its_timeout(pool: ProcessPool) -> None:
    started = time.monotonic()

    pool.submit([request("stubborn-1", timeout_s=0.3)])
    found = collect(pool, 1)

    assert found["stubborn-1"].status is Status.TIMEOUT
    assert time.monotonic() - started < 10.0


def test_cancel_ends_stubborn_children_within_two_seconds(pool: ProcessPool) -> None:
    pool.submit([request("echo-1"), request("stubborn-1"), request("stubborn-2")])
    collect(pool, 1)
    pool.poll(0.5)

    started = time.monotonic()
    pool.cancel()

    assert time.monotonic() - started < 2.0
    assert pool.poll(0.0) == []


def test_cancel_ends_a_retraining_within_two_seconds(pool: ProcessPool) -> None:
    pool.submit([retraining("work-1", {})])
    while not pool.reports():
        pool.poll(0.05)

    started = time.monotonic()
    pool.cancel()

    assert time.monotonic() - started < 2.0
    assert pool.poll(0.0) == []
    assert pool.reports() == []


def test_child_tells_at_most_twice_a_second(pool: ProcessPool) -> None:
    pool.submit([retraining("work-1", {})])
    while not (reports := pool.reports()):
        pool.poll(0.05)
    end = time.monotonic() + 1.1
    while time.monotonic() < end:
        pool.poll(0.05)
        reports += pool.reports()

    assert 2 <= len(reports) <= 4
    assert [report.done for report in reports] == sorted({report.done for report in reports})


def test_outcome_behind_a_report_is_taken_though_time_has_run_out(pool: ProcessPool) -> None:
    pool.warm()
    pool.submit([retraining("tell-1", {}, timeout_s=0.5)])
    time.sleep(0.7)

    assert collect(pool, 1)["tell-1"].status is Status.OK


def test_cancel_ends_what_the_children_have_started(pool: ProcessPool) -> None:
    pool.submit([request("family-1")])
    while not (family := _grandchildren()):
        pool.poll(0.05)

    pool.cancel()

    assert _ended(family, within_s=2.0)


def test_child_that_outgrows_its_memory_costs_one_request(tmp_path: Path) -> None:
    limited = ProcessPool(
        f"{_FAKES}:obedient", arguments=(str(tmp_path),), slots=1, memory_mib=200.0
    )
    with closing(limited):
        limited.submit([request("hoard-1"), request("echo-1")])
        found = collect(limited, 2)

    assert found["hoard-1"].status is Status.OOM
    assert "MiB of memory, allowed are 200" in str(found["hoard-1"].reason)
    assert found["echo-1"].status is Status.OK


def test_close_leaves_no_process_behind(pool: ProcessPool) -> None:
    before = _children()
    pool.submit([request("echo-1"), request("echo-2"), request("sleep-60")])
    collect(pool, 2)
    assert _children() - before

    pool.close()

    assert _children() == before


def test_children_outlive_ctrl_c(pool: ProcessPool) -> None:
    before = _children()
    pool.submit([request("echo-1")])
    (starting,) = _children() - before
    os.kill(starting, signal.SIGINT)
    collect(pool, 1)
    pool.submit([request("sleep-0.3")])
    os.kill(starting, signal.SIGINT)

    assert collect(pool, 1)["sleep-0.3"].status is Status.OK
    assert _children() - before == {starting}


def test_standard_output_of_children_stays_out_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    with closing(ProcessPool(f"{_FAKES}:obedient", slots=1)) as pool:
        pool.submit([request("print-1")])
        collect(pool, 1)

    out, err = capfd.readouterr()
    assert out == ""
    assert "noise" in err


def test_evaluator_that_cannot_be_loaded_is_an_error_with_its_message() -> None:
    with closing(ProcessPool(f"{_FAKES}:refusing", slots=2)) as pool:
        pool.submit([request("echo-1")])

        with pytest.raises(EvaluationError, match="cannot be loaded: the corpus has been eaten"):
            collect(pool, 1)


def test_target_that_does_not_exist_is_an_error() -> None:
    with closing(ProcessPool(f"{_FAKES}:missing", slots=1)) as pool:
        pool.submit([request("echo-1")])

        with pytest.raises(EvaluationError, match="AttributeError: .*'missing'"):
            collect(pool, 1)


def test_child_that_dies_while_loading_is_tried_again(tmp_path: Path) -> None:
    arguments = (str(tmp_path),)
    with closing(ProcessPool(f"{_FAKES}:dying_once", arguments=arguments, slots=1)) as pool:
        pool.submit([request("echo-1")])

        assert collect(pool, 1)["echo-1"].status is Status.OK


def test_children_that_always_die_while_loading_are_an_error() -> None:
    with closing(ProcessPool(f"{_FAKES}:dying", slots=1)) as pool:
        pool.submit([request("echo-1")])

        with pytest.raises(EvaluationError, match="ended with status 7 while loading"):
            collect(pool, 1)


def test_children_start_with_the_first_work_and_no_more_than_there_is() -> None:
    before = _children()
    with closing(ProcessPool(f"{_FAKES}:echo", slots=8)) as pool:
        assert _children() == before

        pool.submit([request("echo-1"), request("echo-2")])

        assert len(_children() - before) == 2
        collect(pool, 2)


def test_slots_default_to_the_cores_open_to_this_process() -> None:
    assert ProcessPool(f"{_FAKES}:echo").capacity == available_cores() >= 1


@pytest.mark.parametrize("slots", [0, -1])
def test_impossible_slots_are_refused(slots: int) -> None:
    with pytest.raises(SpecError, match=f"at least 1, got {slots}"):
        ProcessPool(f"{_FAKES}:echo", slots=slots)


_PARENT = f"""
from evaluators.pools.processes import ProcessPool
from tests.evaluators.pools.fakes import collect, request

if __name__ == "__main__":
    pool = ProcessPool("{_FAKES}:obedient", slots=3)
    pool.submit([request("pid-1"), request("sleep-600-a"), request("sleep-600-b")])
    collect(pool, 1)
    print("working", flush=True)
    collect(pool, 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_with_their_parent_however_it_ends(number: int, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, env=environment, text=True
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "working\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) >= 3
        parent.send_signal(number)

    assert _ended(family, within_s=5.0)


def _ended(processes: list[psutil.Process], *, within_s: float) -> bool:
    # A zombie has ended; who reaps it is not the question here.
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        alive = [process for process in processes if process.is_running()]
        if all(process.status() == psutil.STATUS_ZOMBIE for process in alive):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.slow
def test_loading_too_long_is_an_error_of_the_pool() -> None:
    before = _children()
    with closing(ProcessPool(f"{_FAKES}:sleeping", slots=1, load_s=2)) as pool:
        pool.submit([request("echo-1")])
        with pytest.raises(EvaluationError, match="cannot be loaded: it took more than 2 s"):
            collect(pool, 1)
        with pytest.raises(EvaluationError, match="cannot be loaded: it took more than 2 s"):
            pool.warm()

    assert _children() == before


@pytest.mark.slow
def test_loading_in_too_much_memory_is_an_error_of_the_pool() -> None:
    before = _children()
    with closing(ProcessPool(f"{_FAKES}:hoarding", slots=1, memory_mib=200)) as pool:
        with pytest.raises(EvaluationError, match="cannot be loaded: it took .* allowed are 200"):
            pool.warm()

    assert _children() == before
