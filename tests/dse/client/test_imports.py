import subprocess
import sys

import dse.client
from dse.client.models import JobState
from storage.tables import JobState as StoredState

HEAVY = ("numpy", "pymoo", "torch", "sqlalchemy", "pandas", "fastapi", "typer", "api", "storage")


def test_client_loads_nothing_heavy() -> None:
    code = f"import sys, dse.client; print([m for m in {HEAVY} if m in sys.modules])"

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_every_public_name_exists_and_stands_in_order() -> None:
    assert dse.client.__all__ == sorted(dse.client.__all__)
    assert all(hasattr(dse.client, name) for name in dse.client.__all__)


def test_states_are_the_stored_ones() -> None:
    assert [*JobState] == [*StoredState]
