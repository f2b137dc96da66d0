import asyncio
import socket

import httpx
import pytest
from fastapi import FastAPI

from api.serving import check_host, is_loopback, listen, make_server, run
from dse.errors import SpecError


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "::1", "[::1]"]
)
def test_loopback_hosts_are_served(host: str) -> None:
    assert check_host(host) == host


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "::", "", "192.168.1.2", "example.org", "localhost.example.org"),
        *("127.0.0.1.example.org", "127.1", "0x7f000001", "[::]", "::ffff:8.8.8.8"),
    ],
)
def test_any_other_host_is_refused_with_what_is_allowed(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(SpecError, match=r"allowed: 127\.0\.0\.1, ::1, localhost; got"):
        check_host(host)


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(SpecError, match=f"cannot listen on 127.0.0.1 port {port}"):
            listen("127.0.0.1", port)


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(SpecError, match=r"port must be 0\.\.65535, got 70000"):
        listen("127.0.0.1", 70000)


def test_responses_are_not_held_back_by_nagle(service: httpx.Client) -> None:
    service.get("/healthz")

    fastest = min(service.get("/healthz").elapsed.total_seconds() for _ in range(5))

    assert fastest < 0.03


def test_the_server_stops_when_it_is_told_to(app: FastAPI) -> None:
    async def serve() -> None:
        with listen("127.0.0.1", 0) as listener:
            server = make_server(app)
            asyncio.get_running_loop().call_later(0.2, setattr, server, "should_exit", True)
            await asyncio.wait_for(run(app, server, listener), timeout=5)

    asyncio.run(serve())
