import pytest

from dse.design import Choices
from dse.errors import SpecError, UnknownNameError
from evaluators.quantizers.requests import read_schemes
from evaluators.quantizers.scheme import ALL, PartialSums, Scheme

_LAYERS = ("first", "last")


def test_knobs_left_out_stand_at_neutral() -> None:
    assert read_schemes({}, {}, _LAYERS) == dict.fromkeys(_LAYERS, Scheme(weights=16, inputs=16))


def test_every_knob_is_read() -> None:
    choices: Choices = {
        "w_bits": {"first": 4},
        "a_bits": {"last": 8},
        "act_quantizer": {"first": "percentile"},
        "w_granularity": {"first": "channel"},
        "a_symmetry": {"last": "asymmetric"},
    }

    assert read_schemes(choices, {}, _LAYERS) == {
        "first": Scheme(weights=4, inputs=16, quantizer="percentile", granularity="channel"),
        "last": Scheme(weights=16, inputs=8, symmetry="asymmetric"),
    }


@pytest.mark.parametrize(
    ("choices", "error", "told"),
    [
        (
            {"act_quantizer": {"first": "best"}},
            SpecError,
            "act_quantizer at layer 'first' must be one of .*'absmax'.*got 'best'",
        ),
        ({"w_bits": {"first": "tensor"}}, SpecError, "w_bits at layer 'first'.*got 'tensor'"),
        ({"a_symmetry": {"middle": "symmetric"}}, UnknownNameError, "unknown layer 'middle'"),
        ({"w_shape": {}}, UnknownNameError, "unknown knob 'w_shape'"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(
    choices: Choices, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        read_schemes(choices, {}, _LAYERS)


_SUMS: Choices = {
    "w_bits": {"first": 8, "last": 4},
    "a_bits": {"first": 8, "last": 8},
    "psum_bits": {"first": 8, "last": 6},
    "psum_group": {"first": 3, "last": "all"},
}


def test_partial_sums_take_their_tile_from_the_platform() -> None:
    said: dict[str, dict[str, int | str]] = {
        "first": {"tile": 8, "dataflow": "ws"},
        "last": {"tile": 32, "dataflow": "is"},
    }

    found = read_schemes(_SUMS, said, _LAYERS)

    assert found["first"].sums == PartialSums(tile=8, bits=8, group=3)
    assert found["last"].sums == PartialSums(tile=32, bits=6, group=ALL)


@pytest.mark.parametrize("wide", ["w_bits", "a_bits"])
def test_sums_are_exact_without_a_tile_at_32_bits_and_of_wide_operands(wide: str) -> None:
    one: dict[str, int | str] = {"tile": 8, "dataflow": "ws"}
    said = dict.fromkeys(_LAYERS, one)
    nothing: dict[str, dict[str, int | str]] = {}

    for choices, arithmetic in (
        (_SUMS, nothing),
        ({**_SUMS, "psum_bits": {}}, said),
        ({**_SUMS, wide: {}}, said),
    ):
        found = read_schemes(choices, arithmetic, _LAYERS)
        assert [scheme.sums for scheme in found.values()] == [None, None]


@pytest.mark.parametrize(
    "said",
    [
        {"tile": 0, "dataflow": "ws"},
        {"tile": 8},
        {"tile": "8", "dataflow": "ws"},
        {"tile": 8, "dataflow": "os"},
        {"tile": 8, "dataflow": "ws", "bits": 8},
        {"bits": 8},
    ],
)
def test_other_arithmetic_is_refused(said: dict[str, int | str]) -> None:
    with pytest.raises(SpecError, match="arithmetic at layer 'first' must be empty .* or have a"):
        read_schemes(_SUMS, {"first": said}, _LAYERS)
