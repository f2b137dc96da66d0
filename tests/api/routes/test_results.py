from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from api.bootstrap import RegistryCatalogue
from api.documents import item
from api.figures import FIGURES
from api.report import render_report
from api.runs import run_document
from api.settings import Settings
from dse.ports import Role
from evaluators.hardware.choices import as_choices
from evaluators.registry import Places, make_platform, make_workload
from storage.engine import reading
from storage.repositories import Results
from tests.api.problems import problem_of
from tests.api.stored_runs import add_job, advance, finish, finished_job, take

Json = dict[str, object]


def pages(service: httpx.Client, path: str, **params: object) -> list[Json]:
    found: list[Json] = []
    token = None
    while True:
        told = {**params, **({"page_token": token} if token else {})}
        page = service.get(path, params={k: str(v) for k, v in told.items()}).json()
        found += page["items"]
        token = page["next_page_token"]
        if token is None:
            return found


@pytest.fixture(scope="module")
def job(engine: Engine) -> str:
    return finished_job(engine, "results", generations=4)


def test_the_front_is_that_of_the_store(service: httpx.Client, engine: Engine, job: str) -> None:
    with reading(engine) as connection:
        stored = Results(connection).front(job)

    front = service.get(f"/v1/jobs/{job}/front").json()

    assert front["objectives"] == ["error", "speedup"]
    assert front["next_page_token"] is None
    assert [e | {"label": None} for e in map(item, stored)] == [
        {key: value for key, value in e.items() if key != "position"} for e in front["items"]
    ]


def test_each_generation_has_its_front(service: httpx.Client, job: str) -> None:
    fronts = [service.get(f"/v1/jobs/{job}/front?generation={g}").json() for g in range(4)]

    assert [{e["generation"] for e in front["items"]} for front in fronts] == [{0}, {1}, {2}, {3}]


def test_the_front_is_costed_on_another_platform(
    service: httpx.Client, engine: Engine, job: str
) -> None:
    asked: dict[str, Any] = {
        "name": "psum-accelerator",
        "params": {"constants": "interstellar-28"},
    }

    page = service.post(f"/v1/jobs/{job}/front:recost", json=asked).json()

    with reading(engine) as connection:
        front = Results(connection).front(job)
    platform = make_platform(asked["name"], asked["params"])
    shape = make_workload("sru-phones", {}, Places(home=Path("unused"))).shape
    assert page["platform"] == "psum-accelerator"
    assert [e["hash"] for e in page["items"]] == [e.design.hash for e in front]
    for found, evaluation in zip(page["items"], front, strict=True):
        costs = platform.cost(shape, as_choices(shape, evaluation.design))
        assert found["costs"] == {name: float(column[0]) for name, column in costs.items()}
        assert found["reason"] is None


def test_designs_that_another_platform_does_not_take_say_so(
    service: httpx.Client, job: str
) -> None:
    page = service.post(f"/v1/jobs/{job}/front:recost", json={"name": "silago"}).json()

    assert page["items"]
    for found in page["items"]:
        assert found["costs"] == {}
        assert "platform 'silago'" in found["reason"]


def test_a_platform_that_does_not_exist_costs_nothing(service: httpx.Client, job: str) -> None:
    response = service.post(f"/v1/jobs/{job}/front:recost", json={"name": "no-chip"})

    assert "unknown platform 'no-chip'" in problem_of(response, 422, "unknown_name").detail


def test_a_generation_that_is_not_finished_has_none(service: httpx.Client, job: str) -> None:
    response = service.get(f"/v1/jobs/{job}/front?generation=4")

    assert "allowed: 0 to 3" in problem_of(response, 404, "not_found").detail


@pytest.mark.parametrize("size", [1, 3, 16, 1000])
@pytest.mark.parametrize("feasible", [None, True, False])
def test_pages_of_evaluations_together_are_all(
    service: httpx.Client, engine: Engine, job: str, size: int, feasible: bool | None
) -> None:
    with reading(engine) as connection:
        stored = Results(connection).evaluations(job)
    wanted = [e for e in stored if feasible is None or e.feasible == feasible]
    filters = {} if feasible is None else {"feasible": feasible}

    found = pages(service, f"/v1/jobs/{job}/evaluations", page_size=size, **filters)

    assert [(e["generation"], e["position"], e["hash"]) for e in found] == [
        (e.generation, e.position, e.design.hash) for e in wanted
    ]


def test_designs_that_come_in_behind_the_reader_are_read_once(
    service: httpx.Client, engine: Engine
) -> None:
    job_id = add_job(engine)
    lease = take(engine, job_id)
    advance(engine, lease, 0)
    path, found = f"/v1/jobs/{job_id}/evaluations", []

    page = service.get(path, params={"page_size": 3}).json()
    found += page["items"]
    advance(engine, lease, 1)
    found += pages(service, path, page_size=3, page_token=page["next_page_token"])

    assert [e["hash"] for e in found] == [e["hash"] for e in pages(service, path)]
    assert len(found) == 8


def test_baselines_have_labels(service: httpx.Client, job: str) -> None:
    found = pages(service, f"/v1/jobs/{job}/baselines", page_size=1)

    assert [e["label"] for e in found] == ["uniform 100", "uniform 101"]


def test_generations_are_paged(service: httpx.Client, job: str) -> None:
    found = pages(service, f"/v1/jobs/{job}/generations", page_size=3)

    assert [g["number"] for g in found] == [0, 1, 2, 3]
    assert [g["hypervolume"] for g in found] == [100.0, 101.0, 102.0, 103.0]
    assert set(found[0]) == {
        *("number", "hypervolume", "designs", "measured", "cached", "screened", "failed"),
        "finished_at",
    }


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_plotly_json(service: httpx.Client, job: str, name: str) -> None:
    figure = service.get(f"/v1/jobs/{job}/figures/{name}")

    assert figure.headers["Content-Type"] == "application/json"
    assert {"data", "layout"} <= set(figure.json())


def test_figures_of_a_job_without_results_are_empty_not_errors(
    service: httpx.Client, engine: Engine
) -> None:
    job_id = add_job(engine)

    for name in FIGURES:
        assert service.get(f"/v1/jobs/{job_id}/figures/{name}").status_code == 200


def test_an_unknown_figure_is_told_which_exist(service: httpx.Client, job: str) -> None:
    problem = problem_of(service.get(f"/v1/jobs/{job}/figures/mona"), 404, "not_found")

    assert "allowed: front, hypervolume, choices, splits" in problem.detail


def test_the_document_is_that_of_the_command(
    service: httpx.Client, engine: Engine, settings: Settings, job: str
) -> None:
    expected = run_document(engine, job, RegistryCatalogue(settings.places))

    assert service.get(f"/v1/jobs/{job}/document").json() == expected


def test_results_outlive_their_workload_and_platform(
    service: httpx.Client, engine: Engine
) -> None:
    gone = {"workload": {"name": "gone", "params": {"n": 1}}, "platforms": [{"name": "melted"}]}
    job = add_job(engine, "outlived", **gone)
    lease = take(engine, job)
    advance(engine, lease, 0)
    finish(engine, lease)

    document = service.get(f"/v1/jobs/{job}/document").json()

    workload = {"name": "gone", "params": {"n": 1}, "macs": None, "weights": None}
    assert document["job"]["workload"] == workload
    assert document["job"]["platforms"] == [{"name": "melted", "params": {}, "constants": []}]
    assert document["job"]["baseline_hypervolume"] > 0
    errors = [e["metrics"]["error"] for e in document["front"]]
    assert errors == sorted(errors)
    assert len(errors) == 3
    for path in (*(f"/v1/jobs/{job}/figures/{name}" for name in FIGURES), f"/jobs/{job}"):
        assert service.get(path).status_code == 200
    report = render_report(document)
    assert "gone, which is not to be had here any more" in report
    assert "Constants of" not in report


def test_a_document_is_read_again_when_the_job_has_changed(
    service: httpx.Client, engine: Engine
) -> None:
    job_id = add_job(engine)
    lease = take(engine, job_id)
    path = f"/v1/jobs/{job_id}/document"

    sizes = [len(service.get(path).json()["evaluations"])]
    for generation in range(2):
        advance(engine, lease, generation)
        sizes.append(len(service.get(path).json()["evaluations"]))

    assert sizes == [0, 4, 8]


@pytest.mark.parametrize("job_id", ["0" * 32, "latest", "%00", "a%0db", "é", "x" * 500, ".."])
def test_what_is_no_job_is_not_found(service: httpx.Client, app: FastAPI, job_id: str) -> None:
    for part in ("front", "baselines", "evaluations", "generations", "events", "document"):
        problem_of(service.get(f"/v1/jobs/{job_id}/{part}"), 404, "not_found")


def test_the_roles_do_not_mix(service: httpx.Client, engine: Engine, job: str) -> None:
    with reading(engine) as connection:
        baselines = Results(connection).evaluations(job, Role.BASELINE)

    searched = {e["hash"] for e in pages(service, f"/v1/jobs/{job}/evaluations")}

    assert searched.isdisjoint(e.design.hash for e in baselines)
