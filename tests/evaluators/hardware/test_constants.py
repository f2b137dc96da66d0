from importlib.resources import files

import pytest

from dse.errors import SpecError
from evaluators.hardware.constants import load_constants, parse_constants

SHEETS = sorted(
    each.name.removesuffix(".yaml")
    for each in files("evaluators.hardware.platforms").iterdir()
    if each.name.endswith(".yaml")
)


@pytest.mark.parametrize("platform", SHEETS)
def test_every_constant_of_the_package_has_a_unit_and_a_source(platform: str) -> None:
    constants = list(load_constants(platform))

    assert {"bitfusion", "bitfusion-cycles", "silago"} <= set(SHEETS)
    assert constants
    assert all(constant.unit and constant.source for constant in constants)


@pytest.mark.parametrize(
    "entry",
    [
        "{value: 1, unit: pJ}",
        "{value: 1, unit: pJ, source: ' '}",
        "{value: 1, source: a paper}",
        "{unit: pJ, source: a paper}",
        "{value: .nan, unit: pJ, source: a paper}",
        "{value: 1, unit: pJ, source: a paper, comment: no}",
        "1",
    ],
)
def test_a_constant_that_does_not_say_all_is_refused(entry: str) -> None:
    with pytest.raises(SpecError, match=r"x\.yaml: constant 'mac' needs a finite value, a unit"):
        parse_constants(f"mac: {entry}", origin="x.yaml")


@pytest.mark.parametrize("text", ["- 1", "3", "", "{", "!!python/name:os.system"])
def test_text_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"x\.yaml"):
        parse_constants(text, origin="x.yaml")


def test_a_constant_is_found_by_name() -> None:
    constants = parse_constants("mac: {value: 2, unit: pJ, source: a paper}", origin="x.yaml")

    assert constants["mac"] == 2
    with pytest.raises(KeyError):
        constants["add"]
