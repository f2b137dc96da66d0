"""The files around the code: what they promise must be there."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from api.bootstrap import catalogue
from api.settings import Settings
from dse.catalogue import check
from dse.spec import parse_spec, read_spec
from tests.command_line import Call

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SPECS = sorted(ROOT.glob("examples/*.yaml"))
SMALL = {"sentences": 20, "steps": 2}
SMALL_SEARCH = {
    "population": 4,
    "offspring": 2,
    "generations": 2,
    "baselines": ["uniform"],
    "seed_designs": ["uniform"],
}


def _commands() -> list[str]:
    """The lines of README's `sh` blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


MAKE = [line for line in _commands() if line.startswith("make ")]
CURL = [line for line in _commands() if line.startswith("curl ")]
DSE = [line for line in _commands() if line.startswith(".venv/bin/dse ")]


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def test_readme_says_nothing_that_is_not_run_here() -> None:
    assert len(MAKE) >= 2
    assert len(DSE) >= 5
    assert sorted([*MAKE, *DSE, *CURL]) == sorted(_commands())


@pytest.mark.parametrize("line", MAKE)
def test_make_targets_of_the_readme_exist(line: str) -> None:
    words = [word for word in shlex.split(line)[1:] if "=" not in word]

    assert words
    assert set(words) <= _targets()


def test_every_target_is_phony_and_sets_up_for_itself() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)

    assert set(phony.split()) == _targets()
    for target in _targets() - {"clean"}:
        assert re.search(rf"^{target}: \$\(STAMP\)$", MAKEFILE, re.MULTILINE), target


@pytest.mark.slow
def test_commands_of_the_readme_do_what_they_say(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, in an empty folder, on a small corpus: later lines use what earlier ones made."""
    monkeypatch.setenv("DSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DSE_DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for path in (tmp_path / "examples").glob("*.yaml"):
        path.write_text(yaml.safe_dump(_small(path)))

    for line in DSE:
        arguments = shlex.split(line)[1:]
        if arguments[0] == "evaluate":
            arguments += [f"--workload-param={name}={value}" for name, value in SMALL.items()]

        said = call(*arguments)

        assert said.code == 0, f"{line}: {said.err}"
        for option in ("--json", "--report", "--out"):
            if option in arguments[:-1] and arguments[0] in ("run", "report"):
                assert (tmp_path / arguments[arguments.index(option) + 1]).stat().st_size > 0


def test_yaml_of_the_readme_is_a_spec_that_can_be_run(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)

    assert blocks
    for block in blocks:
        check(parse_spec(block), catalogue(_settings(tmp_path)))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_examples_can_be_run(path: Path, tmp_path: Path) -> None:
    problem = check(read_spec(path), catalogue(_settings(tmp_path)))

    assert len(problem.space.genes) >= 8


def test_demo_is_the_spec_that_the_readme_shows() -> None:
    [block] = re.findall(r"^```yaml\n(name: .*?)^```", README, re.MULTILINE | re.DOTALL)

    assert parse_spec(block).digest() == read_spec(ROOT / "examples/bitfusion.yaml").digest()


def test_demo_specs_of_the_makefile_exist() -> None:
    [specs] = re.findall(r"^DEMO_SPEC := (.*)$", MAKEFILE, re.MULTILINE)

    for name in re.findall(r"examples/[\w.-]+\.yaml", specs):
        assert (ROOT / name) in SPECS


def test_local_links_of_the_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert broken == []


def test_contributing_stays_short() -> None:
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()

    assert 5 <= len(lines) <= 60


def test_changelog_knows_this_version_or_what_comes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert PROJECT["project"]["version"] in text or "Unreleased" in text


@pytest.mark.parametrize("module", ["dse", "dse.spec", "dse.errors", "evaluators.registry"])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    heavy = ("torch", "pymoo", "sqlalchemy", "optuna", "plotly", "fastapi")
    code = (
        f"import sys, {module}\n"
        f"print(*sorted({{name.partition('.')[0] for name in sys.modules}} & {set(heavy)}))"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == ""


def test_commands_that_run_no_network_load_no_torch() -> None:
    code = "import sys, api.cli; api.cli.make_app(); print('torch' in sys.modules)"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "False"


def test_constraints_pin_every_distribution_exactly_once() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]

    names = [canonicalize_name(pin.name) for pin in pins]
    assert len(set(names)) == len(names)
    for pin in pins:
        [specifier] = pin.specifier
        assert specifier.operator == "==", str(pin)


def test_whatever_the_project_needs_is_pinned_as_installed() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        canonicalize_name(pin.name): pin
        for pin in (Requirement(line) for line in lines if line and not line.startswith("#"))
    }

    found = dict(_needed())
    assert set(found) - set(pins) - {"beacon-dse"} == set()
    for name, version in found.items():
        # torch's local label says for which hardware it was built
        assert name == "beacon-dse" or version.partition("+")[0] in pins[name].specifier


def test_compose_file_runs_what_there_is() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))

    assert set(compose) <= {"services", "volumes"}
    assert compose["services"]
    for service in compose["services"].values():
        assert "build" in service or "image" in service
        if service.get("build") == ".":
            _check_dse_command(service.get("command", ["--help"]))
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            assert source in compose["volumes"] or (ROOT / source).exists()
            assert target.startswith("/")
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        # until there are keys
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        shared = service.get("network_mode", "service:server").removeprefix("service:")
        assert shared in compose["services"]


def test_dockerfile_copies_what_exists_and_runs_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]

    assert steps[0][0] == "FROM"
    copied: list[str] = []
    for keyword, rest in steps:
        assert keyword in _DOCKER, keyword
        if keyword == "COPY":
            copied += [word for word in rest.split()[:-1] if not word.startswith("--")]
    assert all((ROOT / name).exists() for name in copied)
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {pattern.rstrip("*") for pattern in patterns} <= set(copied)
    users = [rest for keyword, rest in steps if keyword == "USER"]
    assert users
    assert users[-1] != "root"


def test_pre_commit_hooks_are_make_targets() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))

    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert len({hook["id"] for hook in hooks}) == len(hooks)
    for hook in hooks:
        make, target = hook["entry"].split()
        assert make == "make"
        assert target in _targets()


def test_gate_runs_the_targets_it_names() -> None:
    text = (ROOT / ".ci/run").read_text(encoding="utf-8")

    called = re.findall(r"^make (.*)$", text, re.MULTILINE)
    named = {word for line in called for word in line.split() if "=" not in word}
    assert named >= {"check", "test", "demo"}
    assert named <= _targets()
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_git_ignores_no_source() -> None:
    packages = ("api", "dse", "evaluators", "storage", "tests", "docs", "examples", "benchmarks")
    ignored = ("ls-files", "--others", "--ignored", "--exclude-standard", "--", *packages)

    told = subprocess.run(
        ["git", *ignored], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert [line for line in told if "__pycache__" not in line] == []


_DOCKER = tuple("FROM RUN WORKDIR COPY USER ENV VOLUME ENTRYPOINT CMD EXPOSE".split())


def _settings(home: Path) -> Settings:
    return Settings(home=home, database_url="sqlite:///unused.db")


def _small(path: Path) -> dict[str, Any]:
    """A spec file's data, its corpus and search cut down."""
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if data["workload"]["name"] == "sru-phones":
        data["workload"]["params"] = SMALL
    return {**data, "search": SMALL_SEARCH}


def _check_dse_command(command: list[str]) -> None:
    """The command must parse; the spec it names must be among the examples."""
    import typer

    from api.cli import make_app

    root = typer.main.get_command(make_app())
    if command[0].startswith("-"):
        return
    assert command[0] in getattr(root, "commands", {}), command
    for word in command[1:]:
        if word.startswith("examples/"):
            assert (ROOT / word).is_file()


def _needed() -> Iterator[tuple[NormalizedName, str]]:
    """Yield (name, version) of every installed distribution that this one needs, or what it
    needs needs, extras included."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    waiting = [Requirement(r) for r in [*project["dependencies"], *sum(extras, [])]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        yield name, found.version
        for text in found.requires or ():
            needed = Requirement(text)
            if _applies(needed, wanted.extras):
                waiting.append(needed)


def _applies(needed: Requirement, extras: set[str]) -> bool:
    if needed.marker is None:
        return True
    return any(needed.marker.evaluate({"extra": extra}) for extra in ("", *sorted(extras)))
