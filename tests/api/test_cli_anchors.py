import json

import pytest

from tests.command_line import Call

SILAGO = (
    (("16",), "10.6016", "0.98439", "16.36009"),
    (("8",), "5.3092", "1.96878", "6.57077"),
    (("4",), "2.66299", "3.93756", "2.63756"),
    (("4", "FC=8"), "3.66168", "3.19454", "4.12197"),
    (("4", "FC=8", "L0=8"), "3.69787", "3.16761", "4.17577"),
    (("4", "FC=8", "L0=16"), "3.77026", "3.15415", "4.30965"),
    (("4", "L0=16", "P1=8"), "2.90585", "3.79727", "3.02483"),
    (("4", "L0=8", "P1=8"), "2.83346", "3.81073", "2.89094"),
    (("4", "L0=16"), "2.77157", "3.89717", "2.82525"),
)
SILAGO_LATENCY = (
    (("16",), "1.0000"),
    (("8",), "1.9693"),
    (("4",), "3.8211"),
    (("4", "FC=8"), "2.8202"),
    (("4", "L0=16", "P1=8"), "3.5175"),
    (("4", "L0=16"), "3.6791"),
)
BITFUSION = (
    (("16",), "10.6016", "0.98439"),
    (("8",), "5.3092", "3.93756"),
    (("4",), "2.66299", "15.75024"),
    (("4", "FC=8"), "3.66168", "11.2921"),
    (("4", "FC=8", "L0=8"), "3.69787", "11.1305"),
    (("4", "FC=8", "L0=16"), "3.77026", "11.0901"),
    (("4", "L0=16", "P1=8"), "2.90585", "14.9489"),
    (("4", "L0=8", "P1=8"), "2.83346", "14.9893"),
    (("4", "L0=16"), "2.77157", "15.5483"),
)
# w_bits 2 everywhere, a_bits as given
BITFUSION_W2 = (
    (("2",), "63.001"),
    (("2", "FC=4"), "51.1126"),
    (("4",), "31.5005"),
    (("8",), "15.7502"),
    (("16",), "7.8751"),
)
BITFUSION_LATENCY = (
    (("8",), ("8",), "3.8211"),
    (("4",), ("4",), "12.9644"),
    (("2",), ("4",), "21.5648"),
    (("2",), ("2", "FC=4"), "27.1771"),
    (("2",), ("2",), "32.2676"),
)


@pytest.mark.parametrize(("bits", "memory_mib", "speedup", "energy_uj"), SILAGO)
def test_silago_costs_are_those_of_the_mohaq_anchors(
    bits: tuple[str, ...], memory_mib: str, speedup: str, energy_uj: str, call: Call
) -> None:
    metrics = _cost(call, "silago", bits, bits)

    expected = {"memory_mib": memory_mib, "speedup": speedup, "energy_uj": energy_uj}
    assert {name: _as(text, metrics[name]) for name, text in expected.items()} == expected


@pytest.mark.parametrize(("bits", "speedup"), SILAGO_LATENCY)
def test_silago_latency_is_that_of_the_mohaq_anchors(
    bits: tuple[str, ...], speedup: str, call: Call
) -> None:
    metrics = _cost(call, "silago", bits, bits, "--param", "mode=latency")

    assert _as(speedup, metrics["speedup"]) == speedup


@pytest.mark.parametrize(("bits", "memory_mib", "speedup"), BITFUSION)
def test_bitfusion_costs_are_those_of_the_mohaq_anchors(
    bits: tuple[str, ...], memory_mib: str, speedup: str, call: Call
) -> None:
    metrics = _cost(call, "bitfusion", bits, bits)

    assert _as(memory_mib, metrics["memory_mib"]) == memory_mib
    assert _as(speedup, metrics["speedup"]) == speedup


@pytest.mark.parametrize(("a_bits", "speedup"), BITFUSION_W2)
def test_bitfusion_of_two_bit_weights_is_that_of_the_mohaq_anchors(
    a_bits: tuple[str, ...], speedup: str, call: Call
) -> None:
    metrics = _cost(call, "bitfusion", ("2",), a_bits)

    assert _as("1.33989", metrics["memory_mib"]) == "1.33989"
    assert _as(speedup, metrics["speedup"]) == speedup


@pytest.mark.parametrize(("w_bits", "a_bits", "speedup"), BITFUSION_LATENCY)
def test_bitfusion_latency_is_that_of_the_mohaq_anchors(
    w_bits: tuple[str, ...], a_bits: tuple[str, ...], speedup: str, call: Call
) -> None:
    metrics = _cost(call, "bitfusion", w_bits, a_bits, "--param", "mode=latency")

    assert _as(speedup, metrics["speedup"]) == speedup


def _cost(
    call: Call, platform: str, w_bits: tuple[str, ...], a_bits: tuple[str, ...], *more: str
) -> dict[str, float]:
    """Cost widths: the first everywhere, the others LAYER=BITS."""
    settings = []
    for knob, (everywhere, *places) in (("w_bits", w_bits), ("a_bits", a_bits)):
        settings += ["--set", f"{knob}={everywhere}"]
        for place in places:
            settings += ["--set", f"{knob}@{place}"]
    where = ("--workload", "mohaq-sru", "--platform", platform)
    said = call("cost", *where, *settings, *more, "--json")
    assert said.code == 0, said.err
    metrics: dict[str, float] = json.loads(said.out)["metrics"]
    return metrics


def _as(text: str, value: float) -> str:
    """Print a value to the digits that a table gives."""
    return f"{value:.{len(text.partition('.')[2])}f}"
