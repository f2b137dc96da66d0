"""The documents of jobs that are looked at, each read once a version."""

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Final, final

from sqlalchemy import Engine

from api.documents import Document
from api.runs import run_document
from dse.catalogue import Catalogue
from storage.engine import reading
from storage.repositories import Jobs

_KEPT: Final = 4


@final
class RunDocuments:
    """Reads documents; a page asks for the same one four times at once."""

    def __init__(self, engine: Engine, catalogue: Catalogue) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], Future[Document]] = OrderedDict()

    def get(self, job_id: str) -> Document:
        """Return a job's document as of its last change of state or generation; not to be altered.

        Raises:
            UnknownNameError: no such job.
        """
        with reading(self._engine) as connection:
            key = (job_id, Jobs(connection).get(job_id).version)
        with self._lock:
            found = self._kept.get(key)
            ours = found is None
            if found is None:
                found = self._kept[key] = Future()
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        if ours:
            self._read(key, found)
        return found.result()

    def _read(self, key: tuple[str, int], found: "Future[Document]") -> None:
        try:
            found.set_result(run_document(self._engine, key[0], self._catalogue))
        except BaseException as error:
            with self._lock:
                self._kept.pop(key, None)
            found.set_exception(error)
