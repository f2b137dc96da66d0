import pytest

from dse.design import Choices
from dse.errors import SpecError, UnknownNameError
from evaluators.quantizers.requests import read_schemes
from evaluators.quantizers.scheme import Scheme

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
