"""Serving the application: on loopback only, ending every stream when it is told to stop."""

import asyncio
import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

import uvicorn
from fastapi import FastAPI

from dse.errors import SpecError

_GRACE_S: Final = 10
_TICK_S: Final = 0.1


def check_host(host: str) -> str:
    """Return `host` if it is this machine alone.

    Raises:
        SpecError: anything that another machine could reach; there are no keys to keep it out.
    """
    if is_loopback(host):
        return host
    raise SpecError(
        "host must be a loopback name or address, since the service has no keys; "
        f"allowed: 127.0.0.1, ::1, localhost; got {host!r}"
    )


def is_loopback(host: str) -> bool:
    """Tell whether a name or an address, IPv6 with or without brackets, is this machine's own.

    No name but localhost is looked up: who answers for it may change the answer later.
    """
    name = host.lower()
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to `host`; port 0 takes a free one.

    Raises:
        SpecError: not loopback, or the port is taken or not ours to take.
    """
    name = check_host(host).strip("[]")
    if not 0 <= port <= 65535:
        raise SpecError(f"port must be 0..65535, got {port}")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    # Without the protocol asyncio leaves Nagle's delay on: 40 ms a response.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((name, port))
    except OSError as error:
        listener.close()
        raise SpecError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def make_server(app: FastAPI) -> uvicorn.Server:
    """Return the server of an application made by `api.app.create_app`, for `run`."""
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    return uvicorn.Server(config)


async def run(app: FastAPI, server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until a signal, or `server.should_exit`; then end streams and finish requests."""
    ending = asyncio.create_task(_end_streams(app, server))
    try:
        await server.serve(sockets=[listener])
    finally:
        ending.cancel()
        with suppress(asyncio.CancelledError):
            await ending


async def _end_streams(app: FastAPI, server: uvicorn.Server) -> None:
    # A stopping uvicorn waits for open responses first and ends the lifespan after; a stream
    # would wait for the lifespan's end.
    while not server.should_exit:
        await asyncio.sleep(_TICK_S)
    app.state.stopping.set()
