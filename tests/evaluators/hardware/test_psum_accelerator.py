import pytest

from dse.design import Layer, Value
from dse.errors import SpecError
from evaluators.hardware.psum_accelerator import psum_accelerator, tiles

FC = Layer(name="fc", m=4, k=20, n=6)
NARROW: dict[str, Value] = {"w_bits": 8, "a_bits": 4, "psum_bits": 8, "dataflow": "ws"}


@pytest.mark.parametrize("dataflow", ["ws", "is"])
def test_stored_sums_of_narrow_operands_are_told_with_their_tile(dataflow: str) -> None:
    platform = psum_accelerator({"pci": 16})

    told = platform.arithmetic(FC, {**NARROW, "dataflow": dataflow})

    assert told == {"tile": 16, "dataflow": dataflow}


@pytest.mark.parametrize(
    "change",
    [{"w_bits": 16}, {"a_bits": 16}, {"psum_bits": 32}, {"dataflow": "os"}],
    ids=lambda change: next(iter(change)),
)
def test_exact_sums_ask_for_nothing(change: dict[str, Value]) -> None:
    assert psum_accelerator({}).arithmetic(FC, NARROW | change) == {}


def test_one_tile_and_depthwise_layers_have_exact_sums() -> None:
    platform = psum_accelerator({})
    layers = [
        Layer(name="short", k=8, n=6),
        Layer(name="depthwise", m=49, k=9, n=1, groups=32, kernel=3),
        Layer(name="grouped", m=49, k=18, n=2, groups=16, kernel=3),
    ]

    assert [tiles(layer, 8) for layer in layers] == [1, 1, 3]
    assert [bool(platform.arithmetic(layer, NARROW)) for layer in layers] == [False, False, True]


def test_a_knob_left_out_stands_at_neutral() -> None:
    platform = psum_accelerator({})

    assert platform.arithmetic(FC, {"w_bits": 8, "a_bits": 8}) == {}
    assert platform.arithmetic(FC, {"psum_bits": 8}) == {}


@pytest.mark.parametrize("pci", [0, -8, 1.5, True, "8"])
def test_tiles_that_are_no_positive_number_are_refused(pci: object) -> None:
    with pytest.raises(SpecError, match="pci must be a positive integer"):
        psum_accelerator({"pci": pci})
