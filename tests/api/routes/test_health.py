from pathlib import Path

import httpx
from sqlalchemy import text

from api.app import create_app
from api.settings import Settings
from storage.engine import make_engine
from tests.api.problems import problem_of
from tests.api.served import served


def test_a_service_with_its_database_is_ready(service: httpx.Client) -> None:
    for path in ("/healthz", "/readyz"):
        response = service.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_service_on_another_schema_is_alive_but_not_ready(nowhere: Settings) -> None:
    engine = make_engine(nowhere.database_url)
    with served(create_app(nowhere, engine)) as address:
        alive = httpx.get(f"{address}/healthz")
        ready = httpx.get(f"{address}/readyz")
    engine.dispose()

    assert alive.status_code == 200
    assert "dse db upgrade" in problem_of(ready, 503, "unavailable").detail


def test_a_service_whose_database_breaks_says_so(nowhere: Settings, tmp_path: Path) -> None:
    with served(create_app(nowhere)) as address, httpx.Client(base_url=address) as client:
        assert client.get("/readyz").status_code == 200
        engine = make_engine(nowhere.database_url)
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE job"))
        engine.dispose()

        problem_of(client.get("/v1/jobs"), 503, "unavailable")
        assert client.get("/healthz").status_code == 200
