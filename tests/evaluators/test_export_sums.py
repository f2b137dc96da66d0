import json

import pytest

from dse.design import Design
from dse.errors import SpecError
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.export import Files, measure_export, read_export
from tests.evaluators.exported import EmptyMixed, Manifest, exported, resigned
from tests.evaluators.fake_mixed import LAYERS, MixedNetwork, everywhere

_TILED: dict[str, int | str] = {"tile": 3, "dataflow": "ws"}
_STORED = Design(
    {
        **everywhere(8, act_quantizer="absmax", a_symmetry="asymmetric"),
        "psum_bits": dict(zip(LAYERS, (4, 32, 6, 8, 4, 6, 8), strict=True)),
        "psum_group": dict(zip(LAYERS, (1, 1, 2, 3, "all", 1, 2), strict=True)),
    }
)


def _stored() -> tuple[Files, dict[str, float]]:
    network, arithmetic = MixedNetwork(), dict.fromkeys(LAYERS, _TILED)
    request = Request(
        key="", choices=_STORED.choices, arithmetic=arithmetic, split="test", timeout_s=1.0
    )
    files = exported(_STORED, network=network, arithmetic=arithmetic)
    return files, AccuracyEvaluator(network).evaluate(request)


def test_exports_carry_how_partial_sums_are_stored_and_measure_the_same() -> None:
    files, measured = _stored()

    export = read_export(files)

    assert measure_export(export, EmptyMixed(), "test") == measured
    exact = {name: layer for name, layer in export.manifest.layers.items() if not layer.sums}
    assert list(exact) == ["deep"]
    # the window of `deep` is summed in the array, and its psum_bits say so
    told = json.loads(files.manifest)["layers"]["scores"]["sums"]
    assert (told["tile"], told["bits"], told["group"]) == (3, 4, "all")
    assert len(told["tile_exponents"]) == len(told["sum_exponents"]) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 6}, "psum_bits of scores is 4 in design, 6 in layers"),
        ({"group": 3}, "psum_group of scores is all in design, 3 in layers"),
        ({"bits": 5}, "psum_bits must be one of .*, got 5"),
        ({"group": 9}, "psum_group must be one of .*, got 9"),
        ({"tile": 0}, "greater than or equal to 1"),
        ({"sum_exponents": [1]}, "must be as many, got 4 and 1"),
        ({"sum_exponents": [1, 2, 3, -1]}, "greater than or equal to 0"),
    ],
)
def test_sums_that_cannot_be_or_contradict_the_design_are_refused(
    change: dict[str, object], message: str
) -> None:
    files, _ = _stored()

    def alter(manifest: Manifest) -> None:
        manifest["layers"]["scores"]["sums"].update(change)

    with pytest.raises(SpecError, match=message):
        read_export(resigned(files, alter))


def test_other_exponents_give_another_error() -> None:
    files, measured = _stored()

    def alter(manifest: Manifest) -> None:
        sums = manifest["layers"]["wide"]["sums"]
        sums["sum_exponents"] = [e + 2 for e in sums["sum_exponents"]]

    altered = read_export(resigned(files, alter))

    assert measure_export(altered, EmptyMixed(), "test") != measured
