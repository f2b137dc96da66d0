"""What every error of the service must look like."""

import httpx

from api.errors import Problem


def problem_of(response: httpx.Response, status: int, code: str) -> Problem:
    """Check that a response is a problem document and return it."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code) == (status, code), response.text
    assert problem.type == f"/problems/{code}"
    assert problem.instance.encode() == response.request.url.raw_path.partition(b"?")[0]
    assert problem.request_id == response.headers["X-Request-Id"]
    assert problem.title
    assert problem.detail
    return problem
