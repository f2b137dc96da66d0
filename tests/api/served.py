"""A real server on loopback, in a thread of the test."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from api.serving import listen, make_server, run


@contextmanager
def served(app: FastAPI, *, port: int = 0) -> Iterator[str]:
    """Serve an application and yield its address; at the end it is told to stop."""
    listener = listen("127.0.0.1", port)
    server = make_server(app)
    thread = threading.Thread(target=lambda: asyncio.run(run(app, server, listener)))
    listener.listen()
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()
    assert not thread.is_alive(), "the server did not stop"
