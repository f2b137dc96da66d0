"""What partial sums of few bits cost in error (APSQ, arXiv 2505.03748), on networks of ours.

Every layer of a network at 8-bit weights and activations (the workload's own quantizers), its sums
stored at 4, 6, 8 or 16 bits, in groups of 1, 2, 3, 4 or all tiles, each tile of 8, 32 or 64
reduction elements (`psum-accelerator`, pci; dataflow ws): post-training, and where the workload
trains, after a retraining at the design. Error on the search split in %, lower is better.

    python -m benchmarks.apsq_error --home ~/.beacon-dse --json apsq-error.json
    python -m benchmarks.apsq_error --workloads lenet-digits --retrain --json lenet.json

Everything depends on seeds alone (workloads' own; retraining: 1). Figures go to --json as they
come; run it again with the same file and it goes on where it was.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dse.canonical import canon_of
from dse.design import Design, Value
from dse.ports import silent
from dse.tasks import Request, Retrained, Retraining
from evaluators.registry import Places, make_platform
from evaluators.tasks import Evaluator, make_evaluator

WORKLOADS = ("minilm-similarity", "sru-phones", "lenet-digits", "efficientnet-lite0")
TILES, BITS, GROUPS = (64, 32, 8), (16, 8, 6, 4), (1, 2, 3, 4, "all")
_RETRAINED: Sequence[tuple[int, int, Value]] = [
    (tile, bits, group) for bits in (6, 4, 8) for tile in (8, 32) for group in (1, 4)
]
_STEPS = 150
_SEED = 1

Figures = dict[str, float]
Document = dict[str, dict[str, Figures]]
"""Workload -> cell ("float", "exact", "32/8/1" or "32/8/1 retrained") -> metrics."""


class Study:
    """One workload and what has been found of it."""

    def __init__(self, name: str, home: Path, found: dict[str, Figures]) -> None:
        places = Places(home=home)
        self.name = name
        self.found = found
        self._evaluator: Evaluator = make_evaluator(name, {}, places, home / "scratch" / "apsq")
        self._network = self._evaluator.network

    @property
    def trains(self) -> bool:
        return self._network.trainable

    def exact(self) -> None:
        self._keep("float", None, {})
        self._keep("exact", self._design({}), {})

    def post_training(self, tile: int, bits: int, group: Value) -> None:
        design, arithmetic = self._at(tile, bits, group)
        self._keep(_cell(tile, bits, group), design, arithmetic)

    def retrained(self, tile: int, bits: int, group: Value, *, learn: bool = False) -> None:
        cell = f"{_cell(tile, bits, group)} {'learned' if learn else 'retrained'}"
        if cell in self.found:
            return
        design, arithmetic = self._at(tile, bits, group)
        task = Retraining(
            key=f"{self.name}-{design.hash}-{tile}-{learn}",
            choices=design.choices,
            arithmetic=arithmetic,
            steps=_STEPS,
            seed=_SEED,
            timeout_s=1e9,
            learn_exponents=learn,
        )
        made = self._evaluator(task, silent)
        assert isinstance(made, Retrained)
        self._keep(cell, design, arithmetic, made.digest)

    def _at(self, tile: int, bits: int, group: Value) -> tuple[Design, dict[str, Any]]:
        platform = make_platform("psum-accelerator", {"pci": tile})
        shape = self._network.shape
        design = canon_of(shape, [platform]).design(
            self._design({"psum_bits": bits, "psum_group": group})
        )
        at = {
            layer.name: {knob: design.value(knob, layer.name) for knob in platform.knobs}
            for layer in shape.layers
        }
        return design, {
            layer.name: platform.arithmetic(layer, at[layer.name]) for layer in shape.layers
        }

    def _design(self, more: Mapping[str, Value]) -> Design:
        names = self._network.shape.names
        values = {**self._network.defaults, "w_bits": 8, "a_bits": 8, **more}
        return Design({knob: dict.fromkeys(names, value) for knob, value in values.items()})

    def _keep(
        self,
        cell: str,
        design: Design | None,
        arithmetic: Mapping[str, Mapping[str, int | str]],
        weights: str | None = None,
    ) -> None:
        if cell in self.found:
            return
        request = Request(
            key=cell,
            choices=None if design is None else design.choices,
            arithmetic=arithmetic,
            split="search",
            timeout_s=1e9,
            weights=weights,
        )
        metrics = self._evaluator(request, silent)
        assert not isinstance(metrics, Retrained)
        self.found[cell] = dict(metrics)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path.home() / ".beacon-dse")
    parser.add_argument("--workloads", nargs="*", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--retrain", action="store_true")
    parser.add_argument("--learn", action="store_true", help="retrain with learned exponents too")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    document: Document = json.loads(options.json.read_text()) if options.json.exists() else {}
    for name in options.workloads:
        study = Study(name, options.home, document.setdefault(name, {}))
        for _ in _work(study, retrain=options.retrain, learn=options.learn):
            options.json.write_text(json.dumps(document, indent=1) + "\n")
        print("\n".join(report(name, study.found)), flush=True)


def _work(study: Study, *, retrain: bool, learn: bool) -> Iterator[None]:
    study.exact()
    yield
    for tile in TILES:
        for bits in BITS:
            for group in GROUPS:
                study.post_training(tile, bits, group)
                yield
    for cell in _RETRAINED if retrain and study.trains else ():
        study.retrained(*cell)
        yield
    for cell in _RETRAINED if learn and study.trains else ():
        study.retrained(*cell, learn=True)
        yield


def report(name: str, found: Mapping[str, Figures]) -> Iterator[str]:
    """Yield the lines of a workload's tables, in Markdown."""
    yield f"## {name}\n"
    exact, plain = found["exact"], found["float"]
    yield f"Float {_figures(plain)}; 8-bit operands with exact sums {_figures(exact)}.\n"
    groups = "".join(f" {group} |" for group in GROUPS)
    yield f"{' / '.join(exact)} by tile, bits and group:\n"
    yield f"| tile | bits |{groups}"
    yield "|---|---|" + "---|" * len(GROUPS)
    for tile in TILES:
        for bits in BITS:
            cells = (found[_cell(tile, bits, group)] for group in GROUPS)
            yield f"| {tile} | {bits} |" + "".join(f" {_figures(cell)} |" for cell in cells)
    yield ""
    retrained = [cell for cell in found if cell.endswith(" retrained")]
    if retrained:
        yield f"After {_STEPS} steps of retraining:\n"
        yield "| tile | bits | group | before | after | with learned exponents |"
        yield "|---|---|---|---|---|---|"
        for cell in retrained:
            place = cell.removesuffix(" retrained")
            figures = (found[place], found[cell], found.get(f"{place} learned"))
            row = " | ".join("–" if one is None else _figures(one) for one in figures)
            yield f"| {place.replace('/', ' | ')} | {row} |"
        yield ""


def _cell(tile: int, bits: int, group: Value) -> str:
    return f"{tile}/{bits}/{group}"


def _figures(metrics: Mapping[str, float]) -> str:
    return " / ".join(
        f"{value:.3f}" if value < 1 else f"{value:.2f}" for value in metrics.values()
    )


if __name__ == "__main__":
    main()
