"""The page on platforms: its layer by hand, its commands and its names."""

import re
import shlex
from pathlib import Path

import pytest

from api import cli
from dse.design import Design, Layer, NetworkShape, Value
from evaluators.hardware.machine import Params
from evaluators.hardware.profiles import PROFILES
from evaluators.hardware.psum_accelerator import psum_accelerator
from evaluators.registry import PLATFORMS, make_platform

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "platforms.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| ([\dx ().+/]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)


def record() -> dict[str, float | str]:
    shape = NetworkShape(layers=(Layer(name="fc", m=128, k=3072, n=768),))
    values: dict[str, Value] = {"w_bits": 8, "a_bits": 8, "psum_bits": 8, "psum_group": 2}
    design = Design({knob: {"fc": value} for knob, value in values.items()})
    return psum_accelerator({}).breakdown(shape, design)[0]


def test_the_layer_by_hand_has_every_part() -> None:
    told = record()
    parts = {key for key in told if key.endswith(("_energy_uj", "_cycles"))}
    parts -= {"accumulation_energy_uj", "latency_cycles"}

    named = {
        f"{n}_cycles" if n in ("compute", "sram", "dram") else f"{n}_energy_uj" for n, *_ in ROWS
    }

    assert named == parts
    assert told["accumulation_energy_uj"] == 0.0
    assert (told["bound_by"], told["fits"], told["sum_kib"]) == ("dram", "yes", 2.0)


@pytest.mark.parametrize(("part", "by_hand", "figure"), ROWS, ids=[row[0] for row in ROWS])
def test_each_line_by_hand_is_what_the_platform_says(part: str, by_hand: str, figure: str) -> None:
    told = record()
    # the table holds numbers and operators alone: see ROWS
    value = eval(by_hand.replace("x", "*"))

    if part in ("compute", "sram", "dram"):
        assert value == pytest.approx(float(figure), abs=1)
        assert told[f"{part}_cycles"] == float(figure)
    else:
        assert value / 1e6 == pytest.approx(float(figure), abs=6e-4)
        assert told[f"{part}_energy_uj"] == pytest.approx(float(figure), abs=6e-4)


def test_the_page_names_every_platform_parameter_and_profile() -> None:
    for name in PLATFORMS:
        metrics = ", ".join(f"`{metric}`" for metric in make_platform(name, {}).metrics)
        assert re.search(rf"^\| `{name}` \| .* \| {metrics} \|$", PAGE, re.MULTILINE)
    for parameter in Params.model_fields:
        assert f"`{parameter}`" in PAGE
    assert all(f"`{profile}`" in PAGE for profile in PROFILES)


def test_commands_of_the_page_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSE_HOME", str(tmp_path))
    blocks = re.findall(r"(?:^    .*\n)+", PAGE, re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    costs = [line for line in lines if "dse cost" in line and "zigzag" not in line]

    assert len(costs) == 1
    for line in costs:
        cli.make_app()(shlex.split(line)[1:], standalone_mode=False)
    assert "energy_uj" in capsys.readouterr().out
