import threading
import time

import pytest

from dse.errors import EvaluationError
from evaluators.pools import memory
from evaluators.pools.memory import Memory


def test_question_is_asked_once() -> None:
    known, asked = Memory(), []

    def question() -> int:
        asked.append(1)
        return 7

    assert [known.ask("a", question), known.ask("a", question)] == [7, 7]
    assert known.ask("b", lambda: 8) == 8
    assert len(asked) == 1


def test_refusal_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    known, asked = Memory(), []

    def question() -> int:
        asked.append(1)
        raise EvaluationError("no")

    for _ in range(2):
        with pytest.raises(EvaluationError, match="no"):
            known.ask("a", question)
    monkeypatch.setattr(memory, "_REFUSAL_S", 0.0)
    with pytest.raises(EvaluationError, match="no"):
        known.ask("a", question)

    assert len(asked) == 2


def test_threads_that_want_the_same_wait_for_one_of_them() -> None:
    known, asked, found = Memory(), [], []

    def question() -> int:
        asked.append(1)
        time.sleep(0.1)
        return 7

    threads = [
        threading.Thread(target=lambda: found.append(known.ask("a", question))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [7] * 4
    assert len(asked) == 1
