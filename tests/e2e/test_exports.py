import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Call
from tests.e2e.conftest import Reference
from tests.e2e.runs import TINY, Home

pytestmark = pytest.mark.slow

WITH_BEACONS = {
    **TINY,
    "search": {**TINY["search"], "generations": 2},
    "beacons": {
        "enabled": True,
        "distance": 2,
        "window": [-100, 100],
        "max_beacons": 2,
        "steps": 6,
    },
}
Json = dict[str, Any]  # a JSON object


@pytest.fixture
def check(
    warm_home: Callable[[str], Home], tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Home, Sequence[Json]], None]:
    """Export designs of a home's latest job; in another home, without its database and beacons,
    measure them and compare."""
    elsewhere = warm_home("elsewhere")

    def check(home: Home, items: Sequence[Json]) -> None:
        for number, item in enumerate(items):
            name = tmp_path / f"export {number}"
            monkeypatch.setenv("DSE_HOME", str(home.folder))
            assert call("export", "latest", "--design", item["hash"], "--output", name).code == 0

            monkeypatch.setenv("DSE_HOME", str(elsewhere.folder))
            for split, prefix in (("search", ""), ("test", "test_")):
                file = name.with_suffix(".json")
                said = call("evaluate", "--export", file, "--split", split, "--json")

                assert said.code == 0
                found = json.loads(said.out)["metrics"]
                for metric in ("speedup", f"{prefix}error", f"{prefix}frame_error"):
                    assert found[metric] == item["metrics"][metric]
        assert {path.name for path in elsewhere.folder.iterdir()} == {"cache"}

    return check


def test_exports_alone_measure_the_stored_errors_of_the_front(
    reference: Reference, check: Callable[[Home, Sequence[Json]], None]
) -> None:
    members = reference.document["front"]
    assert len(members) >= 2

    check(reference.home, members)


def test_exports_of_beacon_weights_measure_the_stored_errors(
    warm_home: Callable[[str], Home], check: Callable[[Home, Sequence[Json]], None]
) -> None:
    home = warm_home("beacons")
    front = home.run(spec=WITH_BEACONS)["front"]
    members = [item for item in front if item["origin"] != "base"]
    assert members

    check(home, members[:3])
