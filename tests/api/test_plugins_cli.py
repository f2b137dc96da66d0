"""Workloads of one's own through commands and the service; each runs in processes of its own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import torch
import yaml

from api.app import create_app
from api.bootstrap import catalogue, database
from api.driving import checked
from api.settings import Settings, read_settings
from dse.errors import SpecError
from dse.spec import parse_spec, read_spec
from evaluators.pools.calls import Limits
from evaluators.pools.described import Described
from tests.api.served import served
from tests.command_line import Call
from tests.evaluators.models.exports import Mlp
from tests.evaluators.plugin_files import BAD, GOOD, TUNABLE, workload_named, write_plugin
from tests.evaluators.workloads.file_sets import options, write_files

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/own-networks.md").read_text(encoding="utf-8")
JOB = {
    "name": "mine",
    "workload": {"name": "tunable"},
    "platforms": [{"name": "bitfusion"}],
    "knobs": [{"knob": "w_bits", "choices": [2, 8]}, {"knob": "a_bits", "choices": [2, 8]}],
    "objectives": ["error", "speedup"],
    "search": {"population": 4, "offspring": 2, "generations": 2, "baselines": ["uniform"]},
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSE_HOME", str(tmp_path / "home"))
    for name in ("DSE_DATABASE_URL", "DSE_PLUGINS"):
        monkeypatch.delenv(name, raising=False)


def _plugin(folder: Path, *parts: str, name: str = "my.py") -> Path:
    return write_plugin(folder / name, GOOD, TUNABLE, *parts)


def _settings(home: Path, *plugins: Path) -> Settings:
    return Settings(
        home=home,
        database_url=f"sqlite:///{home / 'dse.db'}",
        plugins=plugins,
        limits=Limits(silence_s=60, memory_mib=2000),
    )


def test_plugins_are_named_by_setting_and_option(tmp_path: Path) -> None:
    first, second = (_plugin(tmp_path, name=name) for name in ("a.py", "b.py"))
    given = {"DSE_HOME": str(tmp_path), "DSE_PLUGINS": f"{first}:{second}"}

    assert read_settings(given).plugins == (first, second)
    assert read_settings(given).named == ()
    assert read_settings(given, plugins=[second]).places.plugins == (first, second)
    assert read_settings(given, plugins=[second]).named == (second,)
    with pytest.raises(SpecError, match="must be a Python file, got .*none.py: there is none"):
        read_settings(given, plugins=[tmp_path / "none.py"])


def test_listed_plugin_that_is_missing_hinders_nobody_and_is_told(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "none.py"
    monkeypatch.setenv("DSE_PLUGINS", f"{missing}:~nobody-of-that-name/my.py")

    assert call("platforms").code == 0
    items = {item["name"]: item for item in json.loads(call("workloads", "--json").out)["items"]}

    assert f"cannot read plug-in {missing}: No such file" in items[str(missing)]["needs"]


def test_named_plugin_with_the_name_of_a_known_workload_is_refused_and_listed(
    call: Call, tmp_path: Path
) -> None:
    code = (
        "from evaluators.registry import workload\n\n\n@workload('mohaq-sru')\ndef made(): ...\n"
    )
    plugin = write_plugin(tmp_path / "my.py", code)
    cost = ("cost", "--workload", "mohaq-sru", "--platform", "bitfusion", "--set=w_bits=4")

    said = call(*cost, "--plugin", plugin)
    listed = call("workloads", "--plugin", plugin, "--json")

    assert said.code == 2
    assert f"plug-in {plugin} cannot be loaded: workload 'mohaq-sru' comes with" in said.err
    assert listed.code == 0
    items = {item["name"]: item for item in json.loads(listed.out)["items"]}
    assert "comes with beacon-dse" in items[str(plugin)]["needs"]
    assert items["mohaq-sru"]["macs"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["inline", "processes"])
def test_job_of_a_workload_of_files_runs_no_plugin(
    pool: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    files = write_files(tmp_path, Mlp(), (6,))
    assert call("workloads", "add", "own", *options(files), "--metric", "top1-error").code == 0
    mark = tmp_path / "ran"
    bad = write_plugin(tmp_path / "bad.py", f"open({str(mark)!r}, 'w').close()", BAD["dies"])
    monkeypatch.setenv("DSE_PLUGINS", str(bad))
    spec = tmp_path / "job.yaml"
    job = {**JOB, "workload": {"name": "own"}, "evaluation": {"pool": pool}}
    spec.write_text(yaml.safe_dump(job))

    said = call("run", spec, "--processes", 1)

    assert said.code == 0, said.err
    assert not mark.exists()


@pytest.mark.parametrize("given", ["x", "0", "1e9"])
def test_limits_out_of_range_are_refused(given: str, tmp_path: Path) -> None:
    for setting in ("DSE_PLUGIN_SILENCE_S", "DSE_PLUGIN_MEMORY_MIB"):
        with pytest.raises(SpecError, match=f"{setting} must be a number .* got '{given}'"):
            read_settings({"DSE_HOME": str(tmp_path), setting: given})


@pytest.mark.slow
def test_search_export_and_evaluation_of_a_plugin(call: Call, tmp_path: Path) -> None:
    plugin = _plugin(tmp_path)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    run, export = tmp_path / "run.json", tmp_path / "best.json"

    said = call("run", tmp_path / "job.yaml", "--plugin", plugin, "--json", run, "--processes", 1)
    assert said.code == 0, said.err
    best = json.loads(run.read_text())["front"][0]
    said = call(
        *("export", "latest", "--design", best["hash"]),
        *("--output", export, "--plugin", plugin),
    )
    assert said.code == 0, said.err
    said = call("evaluate", "--export", export, "--plugin", plugin, "--json")
    assert said.code == 0, said.err
    again = json.loads(said.out)["metrics"]
    sets = [
        f"{knob}@{layer}={value}"
        for knob, values in best["design"].items()
        for layer, value in values.items()
    ]
    said = call(
        *("evaluate", "--workload", "tunable", "--platform", "bitfusion", "--plugin", plugin),
        *(word for one in sets for word in ("--set", one)),
        "--json",
    )
    assert said.code == 0, said.err

    assert again["error"] == best["metrics"]["error"]
    assert json.loads(said.out)["metrics"]["error"] == best["metrics"]["error"]
    assert (tmp_path / "fitted").read_text() == "once\n"


@pytest.mark.slow
def test_inline_pool_is_refused_for_plugins(tmp_path: Path) -> None:
    shelf = catalogue(_settings(tmp_path, _plugin(tmp_path)))
    spec = parse_spec(yaml.safe_dump({**JOB, "evaluation": {"pool": "inline"}}))

    with pytest.raises(
        SpecError, match="evaluation.pool must be processes for workload 'tunable'"
    ):
        checked(spec, shelf)
    problem = checked(parse_spec(yaml.safe_dump(JOB)), shelf)
    assert isinstance(problem.workload, Described)


@pytest.mark.slow
def test_service_lists_bad_plugins_and_runs_none_of_their_code_itself(tmp_path: Path) -> None:
    files = [
        _plugin(tmp_path, workload_named("bad", model="lambda: 1 / 0")),
        write_plugin(tmp_path / "raises.py", BAD["raises"]),
        write_plugin(tmp_path / "dies.py", BAD["dies"]),
    ]
    settings = _settings(tmp_path, *files)

    with (
        database(settings) as engine,
        served(create_app(settings, engine)) as address,
        httpx.Client(base_url=address, timeout=120) as client,
    ):
        items = {item["name"]: item for item in client.get("/v1/workloads").json()["items"]}
        posted = client.post("/v1/jobs", json=JOB)
        refused = client.post("/v1/jobs", json={**JOB, "workload": {"name": "unknown"}})
        unfit = client.post("/v1/jobs", json={**JOB, "workload": {"name": "bad"}})

    assert items["tunable"]["layers"] == {"0": 48, "2": 24}
    assert items["good"]["needs"] is None
    assert "eaten by the dog" in items[str(files[1])]["needs"]
    assert "SIGKILL" in items[str(files[2])]["needs"]
    assert posted.status_code == 202
    assert refused.status_code == 422
    assert "eaten by the dog" in refused.text
    assert unfit.status_code == 422
    assert "workload 'bad': ZeroDivisionError" in unfit.json()["detail"]


@pytest.mark.slow
def test_name_nobody_knows_tells_of_plugins_that_cannot_be_loaded(
    call: Call, tmp_path: Path
) -> None:
    bad = write_plugin(tmp_path / "raises.py", BAD["raises"])

    said = call(
        *("cost", "--workload", "mine", "--platform", "bitfusion", "--plugin", bad),
        "--set=w_bits=4",
    )

    assert said.code == 2
    assert "unknown workload 'mine'; allowed: " in said.err
    assert f"plug-in {bad} cannot be loaded: ValueError: eaten by the dog" in said.err


@pytest.mark.slow
def test_job_of_a_workload_that_cannot_be_prepared_fails_with_its_name(
    call: Call, tmp_path: Path
) -> None:
    code = workload_named("bad", fit="lambda model: 1 / 0")
    spec = tmp_path / "job.yaml"
    spec.write_text(yaml.safe_dump({**JOB, "workload": {"name": "bad"}}))

    said = call("run", spec, "--plugin", _plugin(tmp_path, code))

    assert said.code == 1
    assert "workload 'bad': ZeroDivisionError" in said.err


def test_guide_shows_the_example_and_every_part_of_a_definition() -> None:
    from evaluators.workloads.definition import Definition

    [code] = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)

    assert code == (ROOT / "examples/my_workload.py").read_text(encoding="utf-8")
    for part in Definition.__dataclass_fields__:
        assert f"`{part}`" in GUIDE


@pytest.mark.slow
def test_guide_does_what_it_says(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    [commands] = re.findall(r"^```sh\n(dse workloads --plugin.*?)^```", GUIDE, re.M | re.S)
    (tmp_path / "my_workload.py").write_text(code)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**JOB, "workload": {"name": "digits-mlp"}}))
    monkeypatch.chdir(tmp_path)

    for line in commands.splitlines():
        said = call(*line.split()[1:])

        assert said.code == 0, f"{line}: {said.err}"
    said = call(
        *("evaluate", "--plugin", "my_workload.py", "--workload", "digits-mlp", "--json"),
        *("--platform", "bitfusion", "--set=w_bits=8", "--set=a_bits=8"),
    )
    assert json.loads(said.out)["metrics"]["error"] < 10


@pytest.mark.slow
def test_example_package_works_once_it_is_installed(tmp_path: Path) -> None:
    """In a fresh virtual environment that sees this one's packages by a .pth file: there may be
    no network to install them again."""
    here = Path(sys.prefix)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    [packages] = (tmp_path / "venv").glob("lib/python*/site-packages")
    [theirs] = here.glob("lib/python*/site-packages")
    (packages / "theirs.pth").write_text(f"import site; site.addsitedir({str(theirs)!r})\n")
    python = tmp_path / "venv/bin/python"
    package = tmp_path / "package"
    subprocess.run(["cp", "-r", ROOT / "examples/plugin", package], check=True)
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    subprocess.run([python, *install, "--no-index", package], check=True, cwd=tmp_path)

    def dse(*arguments: str) -> str:
        told = subprocess.run(
            [python, "-m", "api.cli", *arguments], capture_output=True, text=True, cwd=tmp_path
        )
        assert told.returncode == 0, told.stderr
        return told.stdout

    items = {item["name"]: item for item in json.loads(dse("workloads", "--json"))["items"]}
    widths = ("--set=w_bits=8", "--set=a_bits=8", "--json")
    told = dse("evaluate", "--workload=digits-resnet", "--platform=bitfusion", *widths)

    assert items["digits-resnet"]["params"] == {"width": 12}
    assert items["digits-resnet"]["trainable"]
    assert list(items["digits-resnet"]["layers"])[0] == "stem"
    assert json.loads(told)["metrics"]["error"] < 4
    spec = read_spec(package / "job.yaml")
    assert spec.workload.name == "digits-resnet"


def test_plugin_that_hangs_is_no_hindrance_to_known_workloads(tmp_path: Path) -> None:
    bad = write_plugin(tmp_path / "hangs.py", BAD["hangs"])

    made = catalogue(_settings(tmp_path, bad)).workload("mohaq-sru", {})

    assert made.name == "mohaq-sru"
