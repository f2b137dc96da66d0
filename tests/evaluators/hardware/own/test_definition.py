from itertools import product
from pathlib import Path

import pytest

from dse.errors import SpecError
from evaluators.hardware.own.files import presets, read_definition
from tests.evaluators.hardware.own.definitions import (
    EXAMPLES,
    buffer,
    constant,
    data,
    defined,
    line,
    made,
)

FILES = sorted(EXAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_examples_are_platforms_of_thirty_lines_with_a_source_at_every_figure(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = read_definition(path)

    assert found.name == path.stem
    assert len(text.splitlines()) <= 30
    assert all(c.unit and c.source for c in found.constants())
    assert len(list(found.constants())) >= 20


def test_there_are_three_examples_and_a_preset() -> None:
    assert len(FILES) == 3
    assert presets() == ["cmos-45"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"array__rows": {"value": 8, "unit": "PE"}}, r"array\.rows: .*source is missing"),
        ({"array__rows": {"value": 8, "unit": "PE", "source": " "}}, r"array\.rows: source must"),
        ({"array__rows": {"value": 8, "unit": "PE", "source": 3}}, r"array\.rows: source must"),
        ({"array__rows": {"unit": "PE", "source": "x"}}, r"array\.rows: .*value is missing"),
        ({"array__rows": 8}, r"array\.rows: a constant is \{value, unit, source\}, got 8"),
        (
            {"array__rows": {**constant(8, "PE"), "note": 1}},
            r"array\.rows: .*'note' is unknown",
        ),
        (
            {"array__rows": {**constant(8, "PE"), "by us": None}},
            r"'by us' is unknown, a text with a comma needs quotes",
        ),
        ({"array__lines": constant(8, "PE")}, r"array\.lines: Extra inputs are not permitted"),
        ({"buffer": 3}, r"buffer: Extra inputs are not permitted"),
        ({"array__rows": constant(8, "KiB")}, r"array\.rows: unit must be one of PE, got 'KiB'"),
        (
            {"dram__read": constant(8, "pJ")},
            r"dram\.read: unit must be one of .*pJ/bit.*got 'pJ'",
        ),
        ({"dram__read": constant(-1, "pJ/bit")}, r"dram\.read: .*not negative, got -1"),
        ({"dram__read": constant(float("inf"), "pJ/bit")}, r"dram\.read: .*finite.*got inf"),
        ({"dram__read": constant(float("nan"), "pJ/bit")}, r"dram\.read: .*finite.*got nan"),
        ({"dram__read": constant(True, "pJ/bit")}, r"dram\.read: value must be a number, got Tr"),
        ({"dram__read": constant("8", "pJ/bit")}, r"dram\.read: value must be a number, got '8'"),
        ({"dram__read": constant(10**400, "pJ/bit")}, r"dram\.read: "),
        (
            {"buffers__sums__size": constant(0, "KiB")},
            r"buffers\.sums\.size: value must be 1 to .* bit, got 0 KiB",
        ),
        ({"buffers__sums__size": constant(0.3, "bit")}, r"buffers\.sums\.size: value must be 1"),
        ({"buffers__sums": None}, r"buffers\.sums: Field required"),
        ({"dram__bandwidth": constant(0, "bit/cycle")}, r"dram\.bandwidth: value must be 0\.001"),
        ({"array__rows": constant(1.5, "PE")}, r"array\.rows: value must be a whole number"),
        ({"array__rows": constant(70_000, "PE")}, r"array\.rows: value must be 1 to 65536 PE"),
        ({"sums": constant(65, "bit")}, r"sums: value must be 1 to 64 bit, got 65 bit"),
        ({"throughput": []}, r"throughput: "),
        ({"throughput": [line(8, 8, 1.5)]}, r"throughput\.0\.rate: a rate must be a whole number"),
        ({"throughput": [line(8, 8, 0)]}, r"throughput\.0\.rate: value must be"),
        (
            {"throughput": [line(4, 8), line(8, 4)]},
            r"the widest operands together: w_bits 8 and a_bits 8",
        ),
        ({"throughput": [line(17, 8)]}, r"throughput\.0\.w_bits: .*less than or equal to 16"),
        ({"dataflow": "rs"}, r"dataflow\.0: Input should be 'ws', 'is' or 'os', got 'rs'"),
        ({"dataflow": ["ws", "ws"]}, r"dataflow must not repeat"),
        ({"dataflow": []}, r"dataflow: "),
        ({"name": "../up"}, r"name: String should match pattern"),
        ({"array__leakage": constant(3, "mW")}, r"array\.leakage needs array\.clock"),
        (
            {"array__area": constant(3, "um2")},
            r"area must be given everywhere or nowhere, missing: \['buffers\.weights\.area'",
        ),
        ({"knobs": {"w_bits": [2, 9]}}, r"knobs: w_bits must be of 2, 3, .* got 9"),
        ({"knobs": {"sparsity": ["2:4"]}}, r"knobs: 'sparsity' must be one of w_bits, a_bits"),
        ({"knobs": {"psum_bits": []}}, r"knobs: psum_bits needs values, each once"),
        ({"double_buffered": "yes"}, r"double_buffered: Input should be a valid boolean"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_what_is_allowed(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as told:
        defined(**changes)

    assert str(told.value).startswith("mine.yaml is no platform:\n")


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(SpecError) as told:
        defined(sums=constant(-1, "bit"), dram__read=constant(1, "mW"))

    assert "sums: " in str(told.value)
    assert "dram.read: " in str(told.value)


def test_the_fastest_line_that_holds_both_widths_counts() -> None:
    machine = made(
        throughput=[line(4, 4, 4), line(8, 4, 2), line(8, 8, 1), line(16, 16, 4, "cycle/MAC")]
    ).machine
    rates = {
        (w, a): machine.lines[machine.line(w, a)] for w, a in product((2, 4, 5, 8, 16), repeat=2)
    }

    assert rates[2, 2].packed == rates[4, 4].packed == 4
    assert rates[5, 2].packed == rates[8, 4].packed == 2
    assert (rates[4, 5].packed, rates[8, 8].cycles) == (1, 1)
    assert (rates[4, 16].packed, rates[16, 2].cycles) == (1, 4)


def test_knobs_are_the_widths_that_lines_hold_and_what_the_file_offers() -> None:
    platform = made(
        throughput=[line(8, 16)],
        dataflow=["os", "ws"],
        knobs={"w_bits": [8, 4], "psum_bits": [8, 32]},
    )

    assert platform.knobs == {
        "w_bits": (4, 8),
        "a_bits": (2, 3, 4, 5, 6, 7, 8, 16),
        "psum_bits": (8, 32),
        "dataflow": ("ws", "os"),
    }
    assert "dataflow" not in made().knobs


def test_the_digest_is_over_all_that_is_said() -> None:
    digests = {
        defined().digest,
        defined(summary="other").digest,
        defined(dram__read={**constant(10, "pJ/bit"), "source": "elsewhere"}).digest,
        defined(dram__read=constant(11, "pJ/bit")).digest,
        defined(double_buffered=False).digest,
    }

    assert len(digests) == 5
    assert defined().digest == defined(buffers__sums=buffer()).digest
    assert data() == data()
