"""Own platforms through commands, jobs and the service."""

import json
import re
import shlex
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
import yaml

from api.app import create_app
from api.bootstrap import catalogue, database
from api.settings import read_settings
from dse.catalogue import check
from dse.spec import spec_from_data
from evaluators.registry import PLATFORMS
from storage.control import extend_job
from tests.api.served import served
from tests.command_line import Call
from tests.evaluators.hardware.own.definitions import EXAMPLES, buffer, constant, written
from tests.evaluators.models.exports import Mlp
from tests.evaluators.workloads.file_sets import options, write_files

GUIDE = (Path(__file__).parents[2] / "docs/own-platforms.md").read_text(encoding="utf-8")
FILES = sorted(EXAMPLES.glob("*.yaml"))
JOB = {
    "name": "own",
    "workload": {"name": "own"},
    "platforms": [{"name": "mine"}],
    "knobs": [{"knob": "w_bits", "choices": [2, 8]}, {"knob": "a_bits", "choices": [2, 8]}],
    "objectives": ["error", "energy_uj"],
    "search": {"population": 4, "offspring": 2, "generations": 2, "baselines": ["uniform"]},
    "evaluation": {"pool": "inline"},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DSE_DATABASE_URL", "DSE_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_added_listed_shown_costed_and_removed(call: Call, path: Path) -> None:
    added = call("platforms", "add", path)
    assert (added.code, added.out.partition(":")[0]) == (0, f"added {path.stem}")

    shown = json.loads(call("platforms", "show", path.stem, "--json").out)
    assert shown["name"] == path.stem
    assert len(shown["params"]["digest"]) == 64
    assert all(c["source"] and c["unit"] for c in shown["constants"])
    assert "source" in call("platforms", "show", path.stem).out
    listed = json.loads(call("platforms", "--json").out)["items"]
    assert {item["name"]: item["metrics"] for item in listed}[path.stem] == shown["metrics"]
    constants = json.loads(call("platforms", path.stem, "--json").out)["items"]
    assert constants == shown["constants"]

    design = ("--workload", "mohaq-sru", "--platform", path.stem, "--set", "w_bits=4")
    costed = json.loads(call("cost", *design, "--set", "a_bits=8", "--json").out)
    assert costed["platforms"] == [{"name": path.stem, "params": shown["params"]}]
    assert set(costed["metrics"]) == set(shown["metrics"])
    assert {part["platform"] for part in costed["layers"]} == {path.stem}
    assert "bound_by" in call("cost", *design, "--set", "a_bits=8").out

    assert call("platforms", "remove", path.stem).code == 0
    assert call("cost", *design).code == 2


def test_platforms_that_come_along_are_shown_with_their_parameters(call: Call) -> None:
    plain = json.loads(call("platforms", "show", "silago", "--json").out)
    cycles = json.loads(
        call("platforms", "show", "bitfusion", "--param", "mode=cycles", "--json").out
    )

    assert plain["constants"] == json.loads(call("platforms", "silago", "--json").out)["items"]
    assert cycles["params"]["preset"] == "eyeriss"
    assert "area_um2" in cycles["metrics"]
    unknown = call("platforms", "nothing")
    assert (unknown.code, unknown.out) == (2, "")
    assert f"unknown platform 'nothing'; allowed: {', '.join(sorted(PLATFORMS))}" in unknown.err


def test_bitfusion_is_costed_cycle_by_cycle(call: Call) -> None:
    design = ("--workload", "mohaq-sru", "--platform", "bitfusion", "--set", "w_bits=4")

    said = call("cost", *design, "--set", "a_bits=4", "--param", "mode=cycles", "--json")

    costed = json.loads(said.out)
    assert costed["metrics"]["latency_cycles"] == 127_645
    assert {part.get("bound_by", "dram") for part in costed["layers"]} == {"dram"}
    wrong = call("cost", *design, "--param", "mode=cycles", "--param", "rows=0")
    assert (wrong.code, "rows: Input should be greater" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"array__rows": {"value": 8, "unit": "PE"}}, "array.rows: a constant has value, unit"),
        ({"buffers__sums__size": constant(0, "KiB")}, "buffers.sums.size: value must be 1 to"),
        ({"name": "bitfusion"}, "platform 'bitfusion' comes with beacon-dse"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_file_and_key(
    call: Call, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    said = call("platforms", "add", written(tmp_path, **changes))

    assert said.code == 2
    assert told in said.err
    assert call("platforms", "add", tmp_path / "none.yaml").code == 2


def test_a_platform_that_cannot_be_used_hinders_nobody(
    call: Call, tmp_path: Path, home: Path
) -> None:
    call("platforms", "add", written(tmp_path))
    (home / "platforms/mine.json").write_text("{}")

    items = {item["name"]: item for item in json.loads(call("platforms", "--json").out)["items"]}

    assert items["mine"]["summary"].startswith("cannot be used: ")
    assert items["mine"]["metrics"] == []
    assert "silago" in items
    assert call("platforms", "show", "mine").code == 2


def test_the_service_lists_own_platforms_and_checks_jobs_with_them(
    call: Call, tmp_path: Path
) -> None:
    call("platforms", "add", written(tmp_path))
    settings = read_settings()
    spec = {**JOB, "workload": {"name": "sru-phones"}}
    with (
        database(settings) as engine,
        served(create_app(settings, engine)) as address,
        httpx.Client(base_url=address) as client,
    ):
        items = client.get("/v1/platforms").json()["items"]
        taken = client.post("/v1/jobs", json=spec)
        refused = client.post("/v1/jobs", json={**spec, "platforms": [{"name": "yours"}]})

    assert items[-1]["name"] == "mine"
    assert items[-1]["constants"][0] == {"name": "sums", **constant(32.0, "bit")}
    assert taken.status_code == 202
    assert (refused.status_code, "mine" in refused.text) == (422, True)


def test_a_job_that_offers_a_layer_what_no_buffer_holds_is_refused(
    call: Call, tmp_path: Path
) -> None:
    small = {"dataflow": ["ws", "os"], "buffers__weights": buffer(500, "bit")}
    call("platforms", "add", written(tmp_path, **small))
    spec = {**JOB, "workload": {"name": "sru-phones"}}
    both = tmp_path / "both.yaml"
    both.write_text(yaml.safe_dump(spec))
    dataflow = {"knob": "dataflow", "choices": ["os"]}
    held = {**spec, "knobs": [*JOB["knobs"], dataflow]}

    refused = call("run", both)

    assert refused.code == 2
    assert "cannot hold layer 'L0' under dataflow ws with w_bits=8" in refused.err
    assert "dataflows of the platform that can: os" in refused.err
    check(spec_from_data(held), catalogue(read_settings()))


@pytest.mark.slow
def test_a_job_keeps_to_the_platform_that_it_began_with(call: Call, tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = write_files(tmp_path, Mlp(), (6,))
    assert call("workloads", "add", "own", *options(given), "--metric", "top1-error").code == 0
    call("platforms", "add", written(tmp_path))
    spec = tmp_path / "job.yaml"
    spec.write_text(yaml.safe_dump(JOB))
    ended, edited = tmp_path / "run.json", written(tmp_path, "edited.yaml", summary="edited")

    assert call("run", spec, "--json", ended).code == 0
    document = json.loads(ended.read_text())
    job = document["job"]["id"]
    (platform,) = document["job"]["platforms"]
    shown = json.loads(call("platforms", "show", "mine", "--json").out)
    assert platform == {k: shown[k] for k in ("name", "params", "constants")}

    report = tmp_path / "report.html"
    assert call("report", job, "--out", report).code == 0
    assert "dram.bandwidth" in report.read_text()
    call("platforms", "add", edited, "--replace")
    assert call("report", job, "--out", report).code == 0
    assert "dram.bandwidth" not in report.read_text()
    measured = document["evaluations"][0]["hash"]
    exported = call("export", job, "--design", measured, "--output", tmp_path / "design")
    assert exported.code == 1
    assert "'mine' is another one than the job ran on" in exported.err

    longer = {**JOB, "search": {**JOB["search"], "generations": 3}}  # type: ignore[dict-item]
    with database(read_settings()) as engine:
        extend_job(engine, job, generations=3)
    spec.write_text(yaml.safe_dump(longer))
    refused = call("run", spec, "--json", ended)
    assert refused.code == 1
    assert "platform 'mine' is another one than the job began with" in refused.err

    call("platforms", "add", tmp_path / "mine.yaml", "--replace")
    assert call("run", spec, "--json", ended).code == 0
    assert json.loads(ended.read_text())["job"]["id"] == job
    assert len(json.loads(ended.read_text())["hypervolume"]) == 3


@pytest.mark.slow
def test_a_search_on_an_own_platform_runs_narrow_sums(call: Call, tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = write_files(tmp_path, Mlp(), (6,))
    assert call("workloads", "add", "own", *options(given), "--metric", "top1-error").code == 0
    narrow = {"psum_bits": [4, 32], "psum_group": [1]}
    small = constant(2, "PE")
    call("platforms", "add", written(tmp_path, knobs=narrow, array__rows=small))
    spec = tmp_path / "job.yaml"
    bits = {"knob": "psum_bits", "choices": narrow["psum_bits"]}
    widths = [{"knob": knob, "choices": [8]} for knob in ("w_bits", "a_bits")]
    spec.write_text(yaml.safe_dump({**JOB, "knobs": [bits, *widths]}))

    assert call("run", spec, "--json", tmp_path / "run.json").code == 0

    document = json.loads((tmp_path / "run.json").read_text())
    found = [(one["design"]["psum_bits"], one["metrics"]) for one in document["evaluations"]]
    energies = {tuple(sums.values()): metrics["energy_uj"] for sums, metrics in found}
    assert {n for sums, _ in found for n in sums.values()} == {4, 32}
    assert len({metrics["error"] for _, metrics in found}) > 1
    assert min(energies, key=energies.__getitem__).count(4) > 0


def test_the_guide_works_as_it_is_written(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("my-array.yaml").write_text(text)

    add, show, cost, remove = (call(*shlex.split(line)[1:]) for line in commands.splitlines())

    assert [said.code for said in (add, show, cost, remove)] == [0, 0, 0, 0]
    assert len(text.splitlines()) <= 34
    assert "psum_group" in add.out
    assert "our floor plan, revision 3" in show.out
    metrics = json.loads(cost.out)["metrics"]
    assert set(metrics) == {"memory_mib", "speedup", "latency_cycles", "energy_uj", "area_um2"}
    assert metrics["area_um2"] == 256 * 1735 + 3 * 0.43e6


def test_the_guide_names_every_key_of_a_file() -> None:
    for key in ("double_buffered", "sums", "throughput", "knobs", "dataflow", "base", "summary"):
        assert f"| `{key}`" in GUIDE
    for key in ("adder", "leakage", "clock", "area", "rows", "columns"):
        assert f"`array.{key}`" in GUIDE


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_can_be_searched(call: Call, path: Path) -> None:
    call("platforms", "add", path)
    shelf = catalogue(read_settings())
    offered = shelf.platform(path.stem, {}).knobs
    spec = {
        **JOB,
        "workload": {"name": "sru-phones"},
        "platforms": [{"name": path.stem}],
        "knobs": [{"knob": knob, "choices": list(values)} for knob, values in offered.items()],
        "objectives": ["error", "energy_uj", "latency_cycles"],
    }

    problem = check(spec_from_data(spec), shelf)

    sizes = problem.space.cardinalities
    genomes = np.random.default_rng(1).integers(0, sizes, (30, len(sizes)))
    designs = [problem.space.decode(genome) for genome in genomes]
    assert {row["speedup"] > 0 for row in problem.costs(designs)} == {True}
