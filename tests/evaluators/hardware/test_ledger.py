import numpy as np
import pytest

from evaluators.hardware.ledger import Ledger


def squares(choice: int) -> list[int]:
    return [choice, choice**2]


def test_rows_are_counted_once_and_added_to_each_design() -> None:
    asked: list[int] = []

    def count(choice: int) -> list[int]:
        asked.append(choice)
        return squares(choice)

    ledger, choices = Ledger(100, 2), np.random.default_rng(1).integers(0, 100, 10_000)
    total = np.full((10_000, 2), 5)

    for _ in range(2):
        ledger.add_to(total, choices, count)

    assert sorted(asked) == sorted(set(choices.tolist()))
    expected = 5 + 2 * np.stack([choices, choices**2], axis=1)
    assert (total == expected).all()


def test_a_choice_that_cannot_be_counted_leaves_the_ledger_as_it_was() -> None:
    def refuse(choice: int) -> list[int]:
        if choice == 3:
            raise ValueError("no room")
        return squares(choice)

    ledger, total = Ledger(5, 2), np.zeros((2, 2), dtype=np.int64)
    with pytest.raises(ValueError, match="no room"):
        ledger.add_to(total, np.array([1, 3]), refuse)

    ledger.add_to(total, np.array([1, 2]), squares)

    assert total.tolist() == [[1, 1], [2, 4]]
