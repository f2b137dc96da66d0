import json

from api.documents import beacon_item, item
from dse.design import BeaconReading, Design, Evaluation
from dse.tasks import CurvePoint
from storage.beacons import BeaconState, BeaconSummary

DESIGN = Design({"w_bits": {"L1": 4, "L0": 2}})


def test_item_is_json_and_keeps_the_order_of_layers() -> None:
    evaluation = Evaluation(
        design=DESIGN,
        metrics={"speedup": 2.0, "error": 0.1 + 0.2},
        feasible=True,
        origin="base",
        base_error=0.1 + 0.2,
        generation=3,
        key="k",
    )

    data = json.loads(json.dumps(item(evaluation)))

    assert list(data["design"]["w_bits"].items()) == [("L1", 4), ("L0", 2)]
    assert list(data["metrics"].items()) == [("error", 0.1 + 0.2), ("speedup", 2.0)]
    assert data == {
        "hash": DESIGN.hash,
        "generation": 3,
        "design": {"w_bits": {"L1": 4, "L0": 2}},
        "metrics": {"error": 0.1 + 0.2, "speedup": 2.0},
        "feasible": True,
        "violation": 0.0,
        "origin": "base",
        "base_error": 0.1 + 0.2,
        "beacon": None,
        "reason": None,
        "key": "k",
    }


def test_only_baselines_have_a_label() -> None:
    evaluation = Evaluation(design=DESIGN, metrics={}, feasible=False, label="uniform w2a2")

    assert item(evaluation)["label"] == "uniform w2a2"


def test_item_tells_what_the_design_did_on_a_beacon() -> None:
    reading = BeaconReading(number=2, distance=2.5, error=1 / 3)
    evaluation = Evaluation(
        design=DESIGN,
        metrics={"error": 1 / 3},
        feasible=True,
        origin="beacon 2",
        base_error=30.0,
        beacon=reading,
    )

    data = json.loads(json.dumps(item(evaluation)))

    assert (data["origin"], data["base_error"]) == ("beacon 2", 30.0)
    assert data["beacon"] == {"number": 2, "distance": 2.5, "error": 1 / 3}


def test_beacon_item_holds_no_time_and_is_json() -> None:
    beacon = BeaconSummary(
        number=1,
        generation=4,
        state=BeaconState.LOST,
        design=DESIGN,
        digest="ab" * 32,
        reason="its file is altered",
        steps=100,
        seed=1,
        best_step=50,
        size=1000,
        curve=(CurvePoint(step=0, loss=None, error=30.0),),
        seconds=12.5,
        base_error=30.0,
        error=22.0,
        served=3,
        mean_gain=1 / 3,
    )

    data = json.loads(json.dumps(beacon_item(beacon)))

    assert data == {
        "number": 1,
        "generation": 4,
        "state": "LOST",
        "hash": DESIGN.hash,
        "design": {"w_bits": {"L1": 4, "L0": 2}},
        "sha256": "ab" * 32,
        "size": 1000,
        "steps": 100,
        "seed": 1,
        "best_step": 50,
        "curve": [{"step": 0, "loss": None, "error": 30.0}],
        "base_error": 30.0,
        "error": 22.0,
        "served": 3,
        "mean_gain": 1 / 3,
        "reason": "its file is altered",
    }
