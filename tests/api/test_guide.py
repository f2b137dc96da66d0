"""The guide's specs are checked as a user's would be."""

import re
from pathlib import Path

import pytest

from api.bootstrap import catalogue
from api.settings import Settings
from dse.catalogue import check
from dse.knobs import KNOBS
from dse.spec import parse_spec

GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
SPECS = re.findall(r"^```yaml\n(name: .*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", SPECS)
def test_a_spec_of_the_guide_can_be_searched(text: str, nowhere: Settings) -> None:
    space = check(parse_spec(text), catalogue(nowhere)).space

    assert space.fixed["w_bits", "L0"] == space.fixed["w_bits", "FC"] == 8
    assert space.fixed["w_granularity", "P1"] == "channel"
    words = [gene for gene in space.genes if not KNOBS[gene.targets[0][0]].numeric]
    assert [(len(gene.targets), gene.choices) for gene in words] == [
        (8, ("mmse", "percentile")),
        (1, ("symmetric", "asymmetric")),
    ]


def test_the_guide_has_such_a_spec_and_names_every_knob_with_its_values() -> None:
    assert len(SPECS) == 1
    for knob in KNOBS.values():
        assert f"| `{knob.name}` |" in GUIDE
        if not knob.numeric:
            assert f"| {', '.join(f'`{word}`' for word in knob.choices)} |" in GUIDE
