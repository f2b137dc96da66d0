import json
from collections.abc import Callable
from itertools import product

import pytest

from tests.command_line import Call
from tests.e2e.conftest import Reference
from tests.e2e.runs import TINY, WORKLOAD, Home, results

pytestmark = pytest.mark.slow


def test_two_processes_give_what_one_gives(
    reference: Reference, warm_home: Callable[[str], Home]
) -> None:
    document = warm_home("two").run(processes=2)

    assert results(document) == results(reference.document)


def test_the_same_run_again_looks_everything_up(reference: Reference) -> None:
    document = reference.home.run()

    assert results(document) == results(reference.document)
    assert document["job"]["id"] != reference.document["job"]["id"]
    assert reference.home.measured() == reference.measured


def test_document_holds_each_design_once(reference: Reference) -> None:
    document = reference.document
    search = TINY["search"]

    hashes = [item["hash"] for item in document["evaluations"]]
    assert len(set(hashes)) == len(hashes)
    assert len(hashes) == search["population"] + search["offspring"] * (search["generations"] - 1)
    assert {item["hash"] for item in document["front"]} <= set(hashes)
    assert len(document["hypervolume"]) == search["generations"]
    assert all("test_error" in item["metrics"] for item in document["front"])


def test_evaluate_repeats_the_stored_errors_of_the_front(
    reference: Reference, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSE_HOME", str(reference.home.folder))
    members = reference.document["front"]
    assert len(members) >= 2

    for member, (split, prefix) in product(members, [("search", ""), ("test", "test_")]):
        source = ("--design", member["hash"], "--split", split, "--json")
        said = call("evaluate", *WORKLOAD, *source)

        assert said.code == 0
        metrics = json.loads(said.out)["metrics"]
        assert metrics[f"{prefix}error"] == member["metrics"][f"{prefix}error"]
        assert metrics["speedup"] == member["metrics"]["speedup"]
