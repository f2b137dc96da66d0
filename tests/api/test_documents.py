import json

from api.documents import item
from dse.design import Design, Evaluation

DESIGN = Design({"w_bits": {"L1": 4, "L0": 2}})


def test_item_is_json_and_keeps_the_order_of_layers() -> None:
    evaluation = Evaluation(
        design=DESIGN,
        metrics={"speedup": 2.0, "error": 0.1 + 0.2},
        feasible=True,
        origin="base",
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
        "reason": None,
        "key": "k",
    }


def test_only_baselines_have_a_label() -> None:
    evaluation = Evaluation(design=DESIGN, metrics={}, feasible=False, label="uniform w2a2")

    assert item(evaluation)["label"] == "uniform w2a2"
