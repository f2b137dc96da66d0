import socket

import httpx
import pytest
from sqlalchemy import Engine

from dse.knobs import KNOBS
from dse.metrics import METRICS
from evaluators.registry import PLATFORMS, WORKLOADS
from storage.owners import Owner
from storage.workers import register_worker


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("workloads", list(WORKLOADS)),
        ("platforms", list(PLATFORMS)),
        ("knobs", list(KNOBS)),
        ("metrics", list(METRICS)),
    ],
)
def test_what_exists_is_listed_in_full(
    service: httpx.Client, name: str, expected: list[str]
) -> None:
    page = service.get(f"/v1/{name}").json()

    assert [entry["name"] for entry in page["items"]] == expected
    assert page["next_page_token"] is None


def test_every_constant_names_its_source(service: httpx.Client) -> None:
    for platform in service.get("/v1/platforms").json()["items"]:
        assert platform["constants"]
        assert all(constant["source"] for constant in platform["constants"])


def test_workers_are_listed(service: httpx.Client, engine: Engine) -> None:
    owner = Owner.current()
    register_worker(engine, owner, slots=2, versions={"torch": "2.13.0"})

    (worker,) = service.get("/v1/workers").json()["items"]

    assert (worker["id"], worker["host"]) == (owner.id, socket.gethostname())
    assert (worker["slots"], worker["versions"]) == (2, {"torch": "2.13.0"})
