"""Access counts against ZigZag's, and the platform that asks it. Without the extra these fail."""

import sys
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from dse.design import Design, Layer, NetworkShape, Value
from dse.errors import EvaluationError, SpecError
from evaluators.hardware.accesses import DATAFLOWS, Array, Dataflow, Product, accesses
from evaluators.hardware.choices import as_choices
from evaluators.hardware.psum_accelerator import psum_accelerator
from evaluators.hardware.zigzag import zigzag
from evaluators.hardware.zigzag_process import LayerRequest, ZigzagProcess

SIDE = 8
WIDTHS = ((8, 8), (4, 8), (4, 4), (2, 4))
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def process() -> Iterator[ZigzagProcess]:
    process = ZigzagProcess()
    yield process
    process.close()


def request(dataflow: Dataflow, **changes: int) -> LayerRequest:
    sizes = {"m": 16, "k": 40, "n": 24, "rows": SIDE, "columns": SIDE}
    widths = {"w": 4, "a": 8, "p": 16, "o": 8, "sram_width": 2048, "dram_width": 192}
    buffers = dict.fromkeys(("input_bits", "weight_bits", "output_bits"), 2**40)
    return LayerRequest(dataflow=dataflow, **{**sizes, **widths, **buffers, **changes})


def ours(asked: LayerRequest) -> dict[str, int]:
    array = Array(pci=SIDE, pco=SIDE, po=SIDE)
    sums = -(-asked.k // SIDE)
    product = Product(m=asked.m, k=asked.k, n=asked.n, inputs=asked.m * asked.k, sums=sums)
    told = accesses(product, asked.dataflow, array, count="zigzag", unique=False)
    return {
        "weight_sram_read": told.weight_reads * asked.w,
        "weight_sram_written": told.weight_fills * asked.w,
        "weight_dram_read": told.weight_fills * asked.w,
        "weight_dram_written": 0,
        "input_sram_read": told.input_reads * asked.a,
        "input_sram_written": told.input_fills * asked.a,
        "input_dram_read": told.input_fills * asked.a,
        "input_dram_written": 0,
        "output_sram_read": told.sum_reads * asked.p + told.output_drains * asked.o,
        "output_sram_written": told.sum_writes * asked.p + told.output_writes * asked.o,
        "output_dram_read": 0,
        "output_dram_written": told.output_drains * asked.o,
    }


@pytest.mark.slow
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_zigzag_moves_the_same_bits(process: ZigzagProcess, dataflow: Dataflow) -> None:
    rng = np.random.default_rng(27)
    for case in range(9):
        m, k, n = (8 * int(size) for size in rng.integers(1, 9, 3))
        w, a = WIDTHS[case % len(WIDTHS)]
        asked = request(dataflow, m=m, k=k, n=n, w=w, a=a, p=(16, 24, 32)[case % 3])

        found = process.ask(asked, timeout_s=LIMIT_S)

        cycles = found.pop("cycles")
        assert found == ours(asked)
        # and as many steps, but for the loads before the first
        steps = m * k * n // SIDE**2
        assert steps <= cycles


def test_a_layer_that_fits_no_register_fails_alone(process: ZigzagProcess) -> None:
    with pytest.raises(EvaluationError, match="ZigZag failed: "):
        process.ask(request("ws", weight_bits=1), timeout_s=LIMIT_S)

    assert process.ask(request("ws"), timeout_s=LIMIT_S)["weight_sram_read"] == 40 * 24 * 4


def talking(lines: str) -> ZigzagProcess:
    return ZigzagProcess([sys.executable, "-c", lines])


def test_a_layer_that_hangs_is_given_up_and_the_next_one_starts_anew() -> None:
    hangs = talking("import time; input(); time.sleep(600)")

    for _ in range(2):
        with pytest.raises(EvaluationError, match="took longer than 0.2 s"):
            hangs.ask(request("ws"), timeout_s=0.2)


def test_a_process_that_dies_says_so() -> None:
    dies = talking("input()")

    for _ in range(2):
        with pytest.raises(EvaluationError, match="process has ended"):
            dies.ask(request("ws"), timeout_s=30)
    dies.close()


def test_an_idle_process_ends_and_the_next_request_starts_another() -> None:
    pids = (
        "import json, os\n"
        "while input(): print(json.dumps({'figures': {'cycles': os.getpid()}}), flush=True)"
    )
    idle = ZigzagProcess([sys.executable, "-c", pids], idle_s=0.2)
    first = idle.ask(request("ws"), timeout_s=30)["cycles"]

    for _ in range(100):
        if not psutil.pid_exists(int(first)):
            break
        time.sleep(0.1)

    assert not psutil.pid_exists(int(first))
    assert idle.ask(request("ws"), timeout_s=30)["cycles"] != first
    idle.close()


def test_zigzag_that_is_not_installed_is_named_with_its_extra() -> None:
    absent = talking(
        "import sys; sys.modules['zigzag'] = None; sys.argv = ['x']\n"
        "from evaluators.hardware.zigzag_layer import main; main()"
    )

    with pytest.raises(
        EvaluationError, match=r"not installed: .*pip install 'beacon-dse.zigzag.'"
    ):
        absent.ask(request("ws"), timeout_s=LIMIT_S)
    absent.close()


SHAPE = NetworkShape(
    layers=(
        Layer(name="a", m=16, k=40, n=24, consumers=("b",)),
        Layer(name="b", m=16, k=24, n=40, groups=2),
    ),
    vector_parameters=8,
)
CHOSEN: dict[str, Value] = {"w_bits": 8, "a_bits": 8, "psum_bits": 8, "psum_group": 1}


def design(dataflow: str) -> Design:
    values = {**CHOSEN, "dataflow": dataflow}
    return Design({knob: dict.fromkeys("ab", value) for knob, value in values.items()})


def costs(dataflow: str) -> tuple[dict[str, float], list[dict[str, float | str]]]:
    platform = zigzag({"po": 8, "timeout_s": LIMIT_S})
    found = platform.cost(SHAPE, as_choices(SHAPE, design(dataflow)))
    records = platform.breakdown(SHAPE, design(dataflow))
    return {name: float(column[0]) for name, column in found.items()}, records


@pytest.mark.slow
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_the_platform_agrees_with_the_closed_forms(dataflow: Dataflow) -> None:
    found, records = costs(dataflow)

    closed = psum_accelerator({"po": 8, "profile": "zigzag"})
    known = closed.cost(SHAPE, as_choices(SHAPE, design(dataflow)))
    for metric in ("energy_uj", "memory_mib"):
        assert found[metric] == pytest.approx(float(known[metric][0]), rel=1e-9)
    for metric in ("energy_uj", "latency_cycles", "memory_mib"):
        assert sum(float(r[metric]) for r in records) == pytest.approx(found[metric])


def test_a_layer_without_account_says_so_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def account(asked: LayerRequest, timeout_s: float) -> dict[str, float]:
        if asked.k == 24:
            raise EvaluationError("ZigZag took longer than 1 s")
        return {name: float(bits) for name, bits in ours(asked).items()} | {"cycles": 5.0}

    monkeypatch.setattr("evaluators.hardware.zigzag.zigzag_account", account)

    found, (a, b, other) = costs("ws")

    assert np.isnan(found["energy_uj"])
    assert np.isnan(found["latency_cycles"])
    assert found["memory_mib"] > 0
    assert float(a["energy_uj"]) > 0
    assert b["failed"] == "ZigZag took longer than 1 s"
    assert "energy_uj" not in b
    assert other["layer"] == "(other)"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"timeout_s": 0}, "timeout_s must be a positive number, got 0"),
        ({"profile": "apsq"}, "takes no parameter 'profile'"),
        ({"pci": 0}, "pci"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused(
    params: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        zigzag(params)
