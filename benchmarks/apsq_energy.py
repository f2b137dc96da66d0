"""Energy that narrow partial sums save, and what a search makes of them.

Part 1 (seconds): INT8 partial sums against INT32 at 8-bit operands, per workload, dataflow and
group size, with both sets of constants, on the layer lists of our reconstruction of APSQ
(arXiv 2505.03748) and on the exact networks; beside the paper's claim of 28 to 87 %.

Part 2 (--search, hours): `minilm-similarity` over w_bits, a_bits, psum_bits, psum_group and
dataflow with objectives infidelity and energy, against the same search without the knobs of
partial sums and against the best uniform designs.

    python -m benchmarks.apsq_energy --report apsq.md --json apsq.json
    python -m benchmarks.apsq_energy --search --seed 1 --json apsq-search.json
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from api import bootstrap
from api.console import Bars
from api.settings import read_settings
from dse.design import Design, NetworkShape, Value
from dse.pareto import hypervolume
from dse.spec import JobSpec, spec_from_data
from evaluators.hardware.psum_accelerator import PsumAccelerator, psum_accelerator
from evaluators.registry import Places, make_workload

NETWORKS: Final = ("bert-base-128", "segformer-b0-512", "efficientvit-b1", "llama2-7b-4096")
EXACT: Final = (*NETWORKS, "resnet18")
CONSTANTS: Final = ("horowitz-45", "interstellar-28")
GROUPS: Final[tuple[Value, ...]] = (1, 2, 3, 4, "all")
# our reconstruction of APSQ: another array for the language model, inputs outermost
LLAMA: Final[Mapping[str, object]] = {"pci": 32, "pco": 32, "po": 1, "inputs_once": True}
CLAIM: Final = "28 to 87 % (abstract); is 28 to 42 %, ws up to 87 % on vision (second-hand)"

Row = dict[str, Any]  # figures of one line of a table: JSON data


def platform_of(network: str, constants: str) -> PsumAccelerator:
    special = LLAMA if network == "llama2-7b-4096" else {}
    return psum_accelerator({"constants": constants, **special})


def saving(
    platform: PsumAccelerator, shape: NetworkShape, dataflow: str, group: Value
) -> tuple[float, float, float]:
    """Return the energy with INT32 and INT8 partial sums (mJ), and the share of those (%)."""
    whole, narrow = (
        platform.breakdown(shape, _uniform(shape, dataflow, bits, group)) for bits in (32, 8)
    )
    before, after = (sum(float(r["energy_uj"]) for r in rows) / 1e3 for rows in (whole, narrow))
    parts = ("sum_sram_energy_uj", "sum_dram_energy_uj")
    stored = sum(float(r.get(part, 0.0)) for r in whole for part in parts) / 1e3
    return before, after, 100 * stored / before


def energies(layers: str) -> list[Row]:
    """Return a row a network, set of constants and dataflow.

    Args:
        layers: "apsq", the lists of the reconstruction, or "exact".
    """
    places, rows = Places(home=Path("unused")), []
    for network in NETWORKS if layers == "apsq" else EXACT:
        params = {} if network == "resnet18" else {"layers": layers}
        shape = make_workload(network, params, places).shape
        for constants in CONSTANTS:
            platform = platform_of(network, constants)
            for dataflow in ("is", "ws"):
                found = {g: saving(platform, shape, dataflow, g) for g in GROUPS}
                whole, _, share = found[1]
                savings = {str(g): 100 * (1 - after / whole) for g, (_, after, _) in found.items()}
                rows.append(
                    {
                        "network": network,
                        "constants": constants,
                        "dataflow": dataflow,
                        "int32_mj": whole,
                        "share": share,
                        "savings": savings,
                    }
                )
    return rows


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| network | constants | dataflow | INT32, mJ | sums' share | "
        + " | ".join(f"group {group}" for group in GROUPS)
        + " |",
        "| --- | --- | --- | ---: | ---: |" + " ---: |" * len(GROUPS),
    ]
    for row in rows:
        saved = " | ".join(f"{row['savings'][str(group)]:.1f} %" for group in GROUPS)
        lines.append(
            f"| {row['network']} | {row['constants']} | {row['dataflow']} | "
            f"{row['int32_mj']:,.1f} | {row['share']:.1f} % | {saved} |"
        )
    return "\n".join(lines)


def search_spec(*, seed: int, with_sums: bool, quick: bool) -> JobSpec:
    """Return the search with or without the knobs of partial sums; both have the same designs to
    spend and may choose the dataflow."""
    sums = [
        {"knob": "psum_bits", "choices": [6, 8, 16, 32]},
        {"knob": "psum_group", "choices": [1, 2, 3, 4]},
    ]
    knobs = [
        {"knob": "w_bits", "choices": [3, 4, 6, 8]},
        {"knob": "a_bits", "choices": [6, 8]},
        {"knob": "dataflow", "choices": ["ws", "is", "os"]},
        *(sums if with_sums else []),
    ]
    few, many = (12, 6, 3), (40, 20, 60)
    population, offspring, generations = few if quick else many
    return spec_from_data(
        {
            "name": f"partial sums {'searched' if with_sums else 'whole'}",
            "workload": {"name": "minilm-similarity"},
            "platforms": [{"name": "psum-accelerator", "params": {"pci": 32}}],
            "knobs": knobs,
            "objectives": ["infidelity", "energy_uj"],
            "search": {
                "population": population,
                "offspring": offspring,
                "generations": generations,
                "seed": seed,
                "baselines": ["uniform"],
                "seed_designs": ["uniform"],
            },
        }
    )


def searches(*, seed: int, quick: bool) -> dict[str, Any]:
    """Run both searches and set their fronts against each other and against uniform designs."""
    settings = read_settings()
    found: dict[str, list[list[float]]] = {}
    for name, with_sums in (("searched", True), ("whole", False)):
        spec = search_spec(seed=seed, with_sums=with_sums, quick=quick)
        with Bars() as bars:
            job = bootstrap.run_job(spec, settings, processes=None, progress=bars)
        document = bootstrap.document(settings, job)
        found[name] = _points(document["front"])
        found.setdefault("uniform", _points(document["baselines"]))
    reference = (
        np.max(np.concatenate([np.asarray(points) for points in found.values()]), axis=0) * 1.01
    )
    volumes = {name: hypervolume(np.asarray(points), reference) for name, points in found.items()}
    return {"fronts": found, "reference": reference.tolist(), "hypervolumes": volumes}


def search_table(found: Mapping[str, Any]) -> str:
    lines = ["| designs | members | hypervolume | least energy at infidelity of 1, 2, 5 %, uJ |"]
    lines.append("| --- | ---: | ---: | --- |")
    for name, points in found["fronts"].items():
        least = []
        for bound in (1.0, 2.0, 5.0):
            within = [energy for infidelity, energy in points if infidelity <= bound]
            least.append(f"{min(within):,.0f}" if within else "none")
        volume = found["hypervolumes"][name]
        lines.append(f"| {name} | {len(points)} | {volume:,.1f} | {', '.join(least)} |")
    return "\n".join(lines)


def report() -> tuple[str, dict[str, list[Row]]]:
    found = {layers: energies(layers) for layers in ("apsq", "exact")}
    text = (
        f"The paper's claim: {CLAIM}.\n\n"
        f"Layer lists of the reconstruction:\n\n{table(found['apsq'])}\n\n"
        f"Exact networks, attention products included:\n\n{table(found['exact'])}\n"
    )
    return text, found


def _uniform(shape: NetworkShape, dataflow: str, bits: int, group: Value) -> Design:
    values: dict[str, Value] = {
        "w_bits": 8,
        "a_bits": 8,
        "psum_bits": bits,
        "psum_group": group,
        "dataflow": dataflow,
    }
    return Design({knob: dict.fromkeys(shape.names, value) for knob, value in values.items()})


def _points(items: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    metrics = [item["metrics"] for item in items if item["feasible"]]
    return [[float(m["infidelity"]), float(m["energy_uj"])] for m in metrics]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--search", action="store_true", help="part 2 in place of part 1")
    parser.add_argument("--quick", action="store_true", help="a search of 24 designs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="write the tables as Markdown")
    parser.add_argument("--json", type=Path, help="write every figure of the tables")
    given = parser.parse_args()
    if given.search:
        figures: Mapping[str, Any] = searches(seed=given.seed, quick=given.quick)
        text = f"seed {given.seed}\n\n{search_table(figures)}\n"
    else:
        text, figures = report()
    print(text)
    if given.report:
        given.report.write_text(text, encoding="utf-8")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
