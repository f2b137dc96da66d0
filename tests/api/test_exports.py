"""`dse export` and `dse evaluate --export` over a real, tiny search."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from api import bootstrap, exports
from api.settings import Settings
from dse.design import Choices
from dse.errors import EvaluationError, WeightsError
from dse.ports import silent
from dse.spec import spec_from_data
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data.vault import Vault
from evaluators.quantizers.beacon_file import BeaconWeights, dump_beacon
from evaluators.quantizers.calibration import input_ranges
from evaluators.registry import WORKLOADS, Entry, make_platform
from tests.command_line import Call
from tests.evaluators.fake_network import TinyNetwork

Json = dict[str, Any]  # a JSON object

SPEC: Mapping[str, Any] = {  # a job spec as JSON data
    "workload": {"name": "tiny"},
    "platforms": [{"name": "bitfusion", "params": {"mode": "latency"}}],
    "knobs": [{"knob": "w_bits", "choices": [2, 4, 16]}, {"knob": "a_bits", "choices": [4, 8]}],
    "objectives": ["error", "speedup"],
    "constraints": [{"metric": "speedup", "min": 4.0}],
    "search": {
        "population": 6,
        "offspring": 4,
        "generations": 2,
        "seed": 5,
        "baselines": ["uniform"],
        "seed_designs": [],
    },
    "evaluation": {"pool": "inline"},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home in which a search has run."""
    home = tmp_path_factory.mktemp("home")
    made = Settings(home=home, database_url=f"sqlite:///{home / 'dse.db'}")
    tiny = Entry(name="tiny", target="tests.evaluators.fake_network:tiny", summary="for tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WORKLOADS, tiny.name, tiny)
        bootstrap.run_job(spec_from_data(dict(SPEC)), made, processes=1, progress=silent)
        yield made


@pytest.fixture
def front(settings: Settings) -> list[Json]:
    return bootstrap.document(settings, "latest")["front"]


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in."""
    monkeypatch.setenv("DSE_HOME", str(settings.home))
    monkeypatch.delenv("DSE_DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _beacon(vault: Vault, network: str) -> str:
    model = TinyNetwork().model()
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(3))
    ranges = input_ranges(model, TinyNetwork().shape.names, TinyNetwork().calibration())
    frozen = {layer: found.freeze() for layer, found in ranges.items()}
    about = {"network": network}
    weights = BeaconWeights(state=model.state_dict(), ranges=frozen, about=about)
    return vault.write(dump_beacon(weights))


def _measured(
    network: TinyNetwork, vault: Vault, choices: Choices, weights: str | None
) -> dict[str, float]:
    request = Request(
        key="", choices=choices, arithmetic={}, split="search", timeout_s=1.0, weights=weights
    )
    return AccuracyEvaluator(network, vault).evaluate(request)


def test_export_of_every_front_member_measures_what_is_stored(
    front: list[Json], call: Call
) -> None:
    assert len(front) >= 2
    for member in front:
        assert call("export", "latest", "--design", member["hash"]).code == 0
        file = f"design-{member['hash'][:12]}.json"

        for split, prefix in (("search", ""), ("test", "test_")):
            said = call("evaluate", "--export", file, "--split", split, "--json")

            metrics = json.loads(said.out)["metrics"]
            assert said.err.replace("nothing to prepare: 1 to do\n", "") == ""
            assert metrics[f"{prefix}error"] == member["metrics"][f"{prefix}error"]
            assert metrics["speedup"] == member["metrics"]["speedup"]


def test_export_writes_two_files_under_one_name(
    front: list[Json], folder: Path, call: Call
) -> None:
    design = front[0]["hash"]

    for name in ("a", "b.json", "c.safetensors", "d.v1"):
        said = call("export", "latest", "--design", design[:10], "--output", name)
        assert said.code == 0
        assert "wrote" in said.out

    ends = ("json", "safetensors")
    written = {path.name for path in folder.iterdir()}
    assert written == {f"{n}.{end}" for n in "a b c d.v1".split() for end in ends}
    assert json.loads((folder / "d.v1.json").read_text())["hash"] == design


def test_evaluate_shows_measured_and_stored_figures(front: list[Json], call: Call) -> None:
    call("export", "latest", "--design", front[0]["hash"], "--output", "a")

    said = call("evaluate", "--export", "a.json")

    assert said.code == 0
    assert "bitfusion, by layer" in said.out
    assert f"stored with the export: error {front[0]['metrics']['error']:.4g}" in said.out


def test_design_that_is_none_of_the_job_is_refused(front: list[Json], call: Call) -> None:
    said = call("export", "latest", "--design", "nope")

    assert (said.code, said.out) == (2, "")
    assert "'nope'" in said.err


def test_ambiguous_beginning_names_some_designs(front: list[Json], call: Call) -> None:
    said = call("export", "latest", "--design", "")

    assert said.code == 2
    assert "allowed: " in said.err
    assert "none" not in said.err


def test_design_whose_network_was_not_run_is_refused(settings: Settings, call: Call) -> None:
    document = bootstrap.document(settings, "latest")
    screened = [item for item in document["evaluations"] if item["origin"] is None]
    assert screened

    said = call("export", "latest", "--design", screened[0]["hash"])

    assert said.code == 2
    assert "must have been measured" in said.err


def test_folder_that_does_not_exist_is_refused_before_the_work(
    front: list[Json], call: Call
) -> None:
    said = call("export", "latest", "--design", front[0]["hash"], "--output", "no/where")

    assert said.code == 2
    assert "must exist" in said.err


@pytest.mark.parametrize(
    "more",
    [
        ("--workload", "tiny"),
        ("--platform", "bitfusion"),
        ("--set", "w_bits=4"),
        ("--design", "a"),
    ],
)
def test_export_stands_alone(more: tuple[str, str], call: Call) -> None:
    said = call("evaluate", "--export", "a.json", *more)

    assert (said.code, said.out) == (2, "")
    assert "--split, --plugin and --json" in said.err


def test_evaluate_of_nothing_says_what_is_needed(call: Call) -> None:
    said = call("evaluate", "--set", "w_bits=4")

    assert said.code == 2
    assert "--workload and --platform, or --export" in said.err


def test_files_that_are_missing_or_altered_are_refused_by_name(
    front: list[Json], folder: Path, call: Call
) -> None:
    assert "cannot read a.json: No such file" in call("evaluate", "--export", "a.json").err
    call("export", "latest", "--design", front[0]["hash"], "--output", "a")
    tensors = folder / "a.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)

    altered = call("evaluate", "--export", "a.json")
    tensors.unlink()
    missing = call("evaluate", "--export", "a.json")

    assert (altered.code, missing.code) == (1, 2)
    assert "a.json: the tensors are altered" in altered.err
    assert "cannot read a.safetensors" in missing.err


def test_split_that_the_workload_does_not_have_is_refused(front: list[Json], call: Call) -> None:
    call("export", "latest", "--design", front[0]["hash"], "--output", "a")

    said = call("evaluate", "--export", "a.json", "--split", "nope")

    assert said.code == 2
    assert "'nope'" in said.err


def test_other_data_or_base_network_are_noted(
    front: list[Json], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("export", "latest", "--design", front[0]["hash"], "--output", "a")
    monkeypatch.setattr(TinyNetwork, "digest", "1" * 64)

    said = call("evaluate", "--export", "a.json", "--json")

    assert said.code == 0
    assert "not those of the export" in said.err


def test_design_measured_on_another_network_is_not_exported(
    settings: Settings, front: list[Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = exports.find_measured(settings, "latest", front[0]["hash"])
    monkeypatch.setattr(TinyNetwork, "digest", "1" * 64)

    with pytest.raises(EvaluationError, match="another network"):
        exports.export(settings, found, silent)


def test_export_takes_the_weights_that_the_error_came_from(
    settings: Settings, front: list[Json], folder: Path
) -> None:
    vault, network = Vault(settings.places.beacons), TinyNetwork()
    beacon = _beacon(vault, network.digest)
    found = exports.find_measured(settings, "latest", front[0]["hash"])
    served = replace(found.evaluation, origin="beacon 1")

    files = exports.export(settings, replace(found, evaluation=served, beacon=beacon), silent)
    (folder / "a.json").write_bytes(files.manifest)
    (folder / "a.safetensors").write_bytes(files.tensors)
    export = exports.read_export(folder / "a.json")
    platforms = [make_platform("bitfusion", {})]
    metrics, same = exports.measure(export, network, platforms, served.design, "search", silent)

    assert same
    assert (export.manifest.origin, export.manifest.beacon) == ("beacon 1", beacon)
    assert metrics == _measured(network, vault, served.design.choices, beacon)
    assert metrics != _measured(network, vault, served.design.choices, None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "weights are missing"),
        (b"nothing", "weights are altered"),
    ],
)
def test_beacon_weights_that_cannot_be_used_are_refused(
    content: bytes | None, told: str, settings: Settings, front: list[Json]
) -> None:
    vault = Vault(settings.places.beacons)
    beacon = _beacon(vault, TinyNetwork.digest)
    found = replace(exports.find_measured(settings, "latest", front[0]["hash"]), beacon=beacon)
    vault.path(beacon).unlink()
    if content is not None:
        vault.path(beacon).write_bytes(content)

    with pytest.raises(WeightsError, match=told):
        exports.export(settings, found, silent)
