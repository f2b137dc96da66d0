"""ZigZag's own account of one layer: runs in a process of its own, `python -m` this module.

Requests come as lines of JSON on standard input, answers leave as lines of JSON on standard
output; what ZigZag prints goes to standard error. This file imports nothing of ours, ZigZag late.
"""

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any, Final

import yaml

_EQUATION: Final = "O[d0][d1]+=I[d0][d2]*W[d2][d1]"
_LOOPS: Final = {"m": "D0", "n": "D1", "k": "D2"}
# the two loops that the array spans, and the temporal loops from the innermost to the outermost
_MAPPINGS: Final = {
    "ws": (("k", "n"), ("m", "k", "n")),
    "is": (("k", "m"), ("n", "k", "m")),
    "os": (("m", "n"), ("k", "n", "m")),
}
_TENSORS: Final = {"W": "weight", "I": "input", "O": "output"}
_UNLIMITED: Final = 2**60

Request = Mapping[str, Any]  # JSON data: see `account`
Json = dict[str, Any]  # a JSON object of ZigZag's file formats


def account(request: Request) -> dict[str, float]:
    """Have ZigZag count the bits and cycles of a layer under a fixed mapping.

    Args:
        request: dataflow; m, k, n; rows and columns of the array; w, a, p and o in bits; sizes of
            buffers (input_bits, weight_bits, output_bits) and their widths (sram_width,
            dram_width) in bits.

    Returns:
        `{weight|input|output}_{sram|dram}_{read|written}` in bits and `cycles`.
    """
    logging.disable(logging.WARNING)
    from zigzag.api import get_hardware_performance_zigzag

    with tempfile.TemporaryDirectory() as folder:
        accelerator, mapping = Path(folder, "accelerator.yaml"), Path(folder, "mapping.yaml")
        accelerator.write_text(yaml.safe_dump(_accelerator(request), sort_keys=False))
        mapping.write_text(yaml.safe_dump(_mapping(request), sort_keys=False))
        found = get_hardware_performance_zigzag(
            [_workload(request)],
            str(accelerator),
            str(mapping),
            dump_folder=str(Path(folder, "dump")),
            loma_show_progress_bar=False,
        )
    evaluation = found[2][0][1][0][0]
    return {**_bits(evaluation), "cycles": float(evaluation.latency_total2)}


def _bits(evaluation: Any) -> dict[str, float]:
    # ZigZag's own counts are whole accesses of a port; these are the bits that they are made of
    from zigzag.mapping.data_movement import DataDirection, DataMoveAttr

    ways = {
        "read": (DataDirection.RD_OUT_TO_LOW, DataDirection.RD_OUT_TO_HIGH),
        "written": (DataDirection.WR_IN_BY_LOW, DataDirection.WR_IN_BY_HIGH),
    }
    told: dict[str, float] = {}
    for operand, levels in evaluation.mapping.unit_mem_data_movement.items():
        units = evaluation.mapping.spatial_mapping.unit_count[operand]
        for place, level in (("sram", 1), ("dram", 2)):
            amount, precision, count = (
                levels[level].get_attribute(attribute)
                for attribute in (
                    DataMoveAttr.DATA_TRANS_AMOUNT_PER_PERIOD,
                    DataMoveAttr.DATA_PRECISION,
                    DataMoveAttr.DATA_TRANS_PERIOD_COUNT,
                )
            )
            for way, directions in ways.items():
                told[f"{_TENSORS[str(operand)]}_{place}_{way}"] = sum(
                    float(amount.get(d) * precision.get(d) * count.get(d) * units[level + 1])
                    for d in directions
                )
    return told


def _workload(request: Request) -> Json:
    return {
        "id": 0,
        "name": "layer",
        "operator_type": "Gemm",
        "equation": _EQUATION,
        "dimension_relations": [],
        "loop_dims": ["D0", "D1", "D2"],
        "loop_sizes": [request["m"], request["n"], request["k"]],
        "operand_precision": {
            "W": request["w"],
            "I": request["a"],
            "O": request["p"],
            "O_final": request["o"],
        },
        "operand_source": {"W": 0, "I": 0},
    }


def _mapping(request: Request) -> list[Json]:
    spanned, order = _MAPPINGS[request["dataflow"]]
    sides = dict(zip(spanned, (request["rows"], request["columns"]), strict=True))
    # exact sizes: "*" does not keep a loop whole, and a loop of one turn breaks the parser
    turns = [(loop, -(-request[loop] // sides.get(loop, 1))) for loop in order]
    return [
        {
            "name": "default",
            "spatial_mapping": {
                f"D{axis}": [f"{_LOOPS[loop]}, {sides[loop]}"]
                for axis, loop in enumerate(spanned, start=1)
            },
            "temporal_ordering": [[_LOOPS[loop], size] for loop, size in turns if size > 1],
            "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
        }
    ]


def _accelerator(request: Request) -> Json:
    # Registers hold one operand exactly: with more, hybrid dataflows come out. Costs are none of
    # ZigZag's: it charges whole accesses, and MACs of any width alike.
    memories = {
        "weight_register": _memory(request["w"], ["I2"], request["w"], shared=False),
        "input_register": _memory(request["a"], ["I1"], request["a"], shared=False),
        "sum_register": _memory(request["p"], ["O"], request["p"], shared=False),
        "weights": _memory(request["weight_bits"], ["I2"], request["sram_width"]),
        "inputs": _memory(request["input_bits"], ["I1"], request["sram_width"]),
        "outputs": _memory(request["output_bits"], ["O"], request["sram_width"]),
        "dram": _memory(_UNLIMITED, ["I1", "I2", "O"], request["dram_width"]),
    }
    array = {
        "unit_energy": 0,
        "unit_area": 1,
        "dimensions": ["D1", "D2"],
        "sizes": [request["rows"], request["columns"]],
    }
    return {"name": "array", "memories": memories, "operational_array": array}


def _memory(size: int, operands: list[str], width: int, *, shared: bool = True) -> Json:
    outputs = "O" in operands
    ports = {
        "r_port_1": ("read", [f"{operand}, tl" for operand in operands]),
        "w_port_1": ("write", [f"{operand}, fh" for operand in operands]),
    }
    if outputs:
        ports["r_port_2"] = ("read", ["O, th"])
        ports["w_port_2"] = ("write", ["O, fl"])
    return {
        "size": size,
        "r_cost": 0,
        "w_cost": 0,
        "area": 0,
        "latency": 1,
        "operands": operands,
        "ports": [
            {
                "name": name,
                "type": kind,
                "bandwidth_min": 1,
                "bandwidth_max": width,
                "allocation": allocation,
            }
            for name, (kind, allocation) in ports.items()
        ],
        "served_dimensions": ["D1", "D2"] if shared else [],
    }


def _answer(line: str) -> dict[str, object]:
    try:
        return {"figures": account(json.loads(line))}
    except ImportError as error:
        return {"absent": f"{error.name or error} cannot be imported"}
    except Exception as error:  # whatever ZigZag raises is this layer's affair alone
        told = " ".join(str(error).split())
        return {"failed": f"{type(error).__name__}: {told:.300}"}


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Answer requests until standard input ends, or the parent does."""
    # a layer may take for ever, and standard input is read between two of them alone
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(_answer(line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
