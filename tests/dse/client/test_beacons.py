import hashlib
from pathlib import Path

import httpx
import pytest

from dse.client import BeaconState, Job, NotFoundError, ServerError
from dse.errors import DseError
from tests.dse.client.fakes import WEIGHTS, FakeService, Script, client_of, job_data, problem
from tests.dse.client.test_jobs import SPEC

SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def job() -> Job:
    return client_of(FakeService()).submit(SPEC)


def job_that_answers(reply: httpx.Response) -> Job:
    return client_of(Script(httpx.Response(200, json=job_data()), reply)).get("0190aa")


def test_beacons_are_told_by_number_with_their_curves(job: Job) -> None:
    ready, failed = job.beacons()

    assert (ready.number, ready.state, ready.sha256) == (1, BeaconState.READY, SHA256)
    assert [point.error for point in ready.curve] == [30.0, 21.5]
    assert (ready.served, ready.mean_gain) == (4, 7.25)
    assert (failed.state, failed.reason, failed.curve) == (
        BeaconState.FAILED,
        "FAILED: loss is [nan]",
        (),
    )


def test_weights_are_written_whole(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "beacon.safetensors"
    path.write_bytes(b"older")

    assert job.download_beacon(1, path) == path

    assert path.read_bytes() == WEIGHTS
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("tag", [f'"{"0" * 64}"', None, f'"{SHA256}'[:-1]])
def test_weights_that_are_not_what_they_are_called_are_not_written(
    tmp_path: Path, tag: str | None
) -> None:
    headers = {} if tag is None else {"ETag": tag}
    job = job_that_answers(httpx.Response(200, content=WEIGHTS, headers=headers))
    path = tmp_path / "beacon.safetensors"
    path.write_bytes(b"older")

    with pytest.raises(ServerError, match=f"arrived with SHA-256 {SHA256}, its ETag says"):
        job.download_beacon(1, path)

    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("status", "code"), [(404, "not_found"), (410, "gone")])
def test_weights_that_are_not_there_are_not_found(tmp_path: Path, status: int, code: str) -> None:
    job = job_that_answers(problem(status, code, detail="weights are missing"))

    with pytest.raises(NotFoundError, match="weights are missing") as caught:
        job.download_beacon(1, tmp_path / "beacon.safetensors")

    assert (caught.value.status, caught.value.code) == (status, code)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(job: Job, tmp_path: Path) -> None:
    with pytest.raises(DseError, match=r"cannot write .*b\.safetensors: No such file"):
        job.download_beacon(1, tmp_path / "nowhere" / "b.safetensors")
    with pytest.raises(DseError, match="cannot write .*: it is a folder"):
        job.download_beacon(1, tmp_path)


def test_an_unfinished_file_is_not_left_behind(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(DseError, match="No space left on device"):
        job.download_beacon(1, tmp_path / "beacon.safetensors")
    assert list(tmp_path.iterdir()) == []
