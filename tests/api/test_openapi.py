import json
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from sqlalchemy import Engine

from api.openapi import STORED, text
from tests.api.stored_runs import add_job, finished_job

schema = schemathesis.openapi.from_dict(json.loads(STORED.read_text(encoding="utf-8")))
submission = schemathesis.openapi.from_dict(json.loads(STORED.read_text(encoding="utf-8")))
# Every boundary of every field of a job spec: half a minute.
submission.config.phases.coverage.enabled = False


@pytest.fixture(scope="module")
def job(engine: Engine) -> str:
    return finished_job(engine)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    paths = json.loads(STORED.read_text(encoding="utf-8"))["paths"]
    return [
        (path, method, operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]


def test_the_stored_description_is_this_releases(app: FastAPI) -> None:
    assert STORED.read_text(encoding="utf-8") == text(app), "run python -m api.openapi"


def test_the_service_serves_it(service: httpx.Client) -> None:
    assert service.get("/openapi.json").json() == json.loads(STORED.read_text(encoding="utf-8"))


def test_every_operation_has_a_name_of_its_own_a_tag_and_a_summary() -> None:
    named = [operation["operationId"] for _, _, operation in operations()]

    assert len(set(named)) == len(named)
    assert all(name.isalnum() for name in named)
    assert all(op["tags"] and op["summary"] for _, _, op in operations())


def test_every_error_is_described_as_a_problem() -> None:
    for path, method, operation in operations():
        errors = {s: r for s, r in operation["responses"].items() if s >= "400"}
        assert errors, (method, path)
        for response in errors.values():
            ((kind, content),) = response["content"].items()
            assert kind == "application/problem+json"
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_the_job_spec_is_described_with_an_example_that_holds(service: httpx.Client) -> None:
    document = json.loads(STORED.read_text(encoding="utf-8"))
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]

    response = service.post("/v1/jobs", json=body["example"])

    assert body["schema"]["$ref"].rpartition("/")[2] in document["components"]["schemas"]
    assert response.status_code == 202


# A description cannot say which tokens, ETags and names exist, nor that pydantic takes 1 for true.
_TOO_STRICT: list[Any] = [  # Any: the library's own types do not agree
    positive_data_acceptance,
    negative_data_rejection,
]


_BOUNDED = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@schema.exclude(operation_id="submitJob").parametrize()
@_BOUNDED
def test_what_is_described_is_what_happens(
    case: schemathesis.Case[Any], service: httpx.Client, engine: Engine, job: str
) -> None:
    if "job_id" in case.path_parameters and case.meta is not None:
        if case.meta.generation.mode is GenerationMode.POSITIVE:
            fresh = case.method != "GET"
            case.path_parameters["job_id"] = add_job(engine) if fresh else job

    case.call_and_validate(base_url=str(service.base_url), timeout=10, excluded_checks=_TOO_STRICT)


@pytest.mark.slow
@submission.include(operation_id="submitJob").parametrize()
@_BOUNDED
def test_whatever_is_submitted_is_answered_as_described(
    case: schemathesis.Case[Any], service: httpx.Client
) -> None:
    case.call_and_validate(base_url=str(service.base_url), timeout=10, excluded_checks=_TOO_STRICT)
