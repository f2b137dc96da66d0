from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dse.errors import SpecError
from dse.ports import silent
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.registry import Places, make_workload
from evaluators.workloads.files import FileWorkload, file_names, file_workload
from tests.evaluators.models.exports import Residual, Vit
from tests.evaluators.workloads.file_sets import add, write_files

pytestmark = pytest.mark.slow


def test_an_added_workload_is_found_by_name(places: Places, given: dict[str, Path]) -> None:
    added, examined = add(places, given)

    found = make_workload("own", {}, places)
    assert file_names(places) == ["own"]
    assert isinstance(found, FileWorkload)
    assert found.manifest == added.manifest
    assert found.shape.names == ("layers.0", "layers.3")
    assert found.trainable
    assert examined.errors == {"search": 10.0, "test": 10.0}
    assert examined.samples == dict.fromkeys(("calibration", "search", "test", "train"), 150)


def test_a_shape_needs_no_file_but_the_manifest(places: Places, given: dict[str, Path]) -> None:
    added, _ = add(places, given)
    for path in (places.workloads / "own").iterdir():
        if path.name != "workload.json":
            path.unlink()

    found = file_workload("own", places)

    assert found is not None
    assert found.shape == added.shape


@pytest.mark.parametrize("make", [Residual, Vit])
def test_quantized_at_8_bits_errors_stay_near_float(
    tmp_path: Path, places: Places, make: type[torch.nn.Module]
) -> None:
    torch.manual_seed(0)
    network, examined = add(places, write_files(tmp_path, make(), (1, 8, 8)))

    network.prepare(silent)
    request = Request(
        key="",
        choices={knob: dict.fromkeys(network.shape.names, 8) for knob in ("w_bits", "a_bits")},
        arithmetic={},
        split="search",
        timeout_s=60.0,
    )
    evaluator = AccuracyEvaluator(network)
    found = evaluator.evaluate(request)
    plain = evaluator.evaluate(replace(request, choices=None))

    assert plain["error"] == examined.errors["search"]
    assert abs(found["error"] - plain["error"]) <= 6.0  # of an untrained network
    assert evaluator.evaluate(request) == found


def test_training_batches_cover_every_sample_in_another_order(
    places: Places, given: dict[str, Path]
) -> None:
    network, _ = add(places, given)
    network.prepare(silent)
    lessons = network.lessons(silent)

    batches = lessons.batches(np.random.default_rng(1))
    first, second = ([next(batches) for _ in range(3)] for _ in range(2))
    again = lessons.batches(np.random.default_rng(1))

    assert [len(x) for x, _ in first] == [64, 64, 22]
    assert torch.equal(next(again)[0], first[0][0])
    assert not torch.equal(first[0][0], second[0][0])
    xs = [torch.cat([x for x, _ in epoch]).sort(0).values for epoch in (first, second)]
    assert torch.equal(*xs)
    loss = lessons.loss(network.model(), first[0], torch.Generator())
    assert loss.requires_grad


def test_models_do_not_share_weights(places: Places, given: dict[str, Path]) -> None:
    network, examined = add(places, given)
    network.prepare(silent)

    with torch.no_grad():
        network.model().get_parameter("layers.0.weight").zero_()

    assert network.measure(network.model(), "search")["error"] == examined.errors["search"]


def test_parameters_are_refused(places: Places, given: dict[str, Path]) -> None:
    add(places, given)

    with pytest.raises(SpecError, match="'own' takes no parameters, got 'seed'"):
        make_workload("own", {"seed": 1}, places)
