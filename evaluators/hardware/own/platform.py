"""An accelerator that a platform file describes, as a platform.

Of each layer one choice is counted once, exactly, and kept; populations are costed from these
counts. Layers run one after another. Biases and element-wise operations take memory, but neither
cycles nor energy.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from itertools import product
from math import prod
from typing import Final, cast, final

import numpy as np

from dse.design import Design, Layer, NetworkShape, Value
from dse.errors import SpecError
from dse.knobs import BITS, KNOBS
from dse.ports import FloatArray, IntArray
from evaluators.hardware.accesses import Dataflow, partial_sums
from evaluators.hardware.choices import accepted_indices, as_choices
from evaluators.hardware.ledger import Ledger
from evaluators.hardware.own.definition import Definition
from evaluators.hardware.own.layers import (
    NARROW,
    Choice,
    Counts,
    Machine,
    NoRoomError,
    counts,
    machine_of,
)
from evaluators.hardware.own.prices import Prices, prices_of
from evaluators.hardware.ratios import with_shares

VECTOR_BITS: Final = 16
"""Width of biases, as on all platforms."""

_MIB_BITS: Final = 8 * 2**20
_PICO_PER_MICRO: Final = 1e6

_counts = lru_cache(maxsize=10_000)(counts)


@lru_cache(maxsize=256)
def _ledger(digest: str, layer: Layer, choices: int, columns: int) -> Ledger:
    """Return the rows of a layer on the platform whose definition has this digest."""
    return Ledger(choices, columns)


def own_platform(given: Definition) -> "OwnPlatform":
    """Make the platform of a definition."""
    return OwnPlatform(definition=given, machine=machine_of(given), prices=prices_of(given))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPlatform:
    """A platform of somebody's own."""

    definition: Definition
    machine: Machine
    prices: Prices

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def params(self) -> Mapping[str, object]:
        return {"digest": self.definition.digest}

    @property
    def knobs(self) -> Mapping[str, tuple[Value, ...]]:
        taken, named = self.definition.taken, self.definition.knobs
        widths = {knob: taken[knob] for knob in ("w_bits", "a_bits")}
        offered = {knob: _ordered(knob, values) for knob, values in named.items()}
        flows = self.definition.dataflow
        chosen = {"dataflow": _ordered("dataflow", flows)} if len(flows) > 1 else {}
        return {**widths, **offered, **chosen}

    @property
    def tied(self) -> tuple[tuple[str, ...], ...]:
        return ()

    @property
    def metrics(self) -> tuple[str, ...]:
        metrics = ("memory_mib", "speedup", "latency_cycles", "energy_uj")
        return metrics if self.prices.area_um2 is None else (*metrics, "area_um2")

    @property
    def constants(self) -> list[dict[str, float | str]]:
        """Every figure as it was given: name, value, unit, source."""
        return [asdict(constant) for constant in self.definition.constants()]

    def arithmetic(self, layer: Layer, values: Mapping[str, Value]) -> Mapping[str, int | str]:
        """Return {} where sums are exact, or else `tile`, the reduction elements of a partial
        sum, and `dataflow`, "ws" or "is"; as of `psum-accelerator`."""
        at = {knob: values.get(knob, KNOBS[knob].neutral) for knob in KNOBS}
        w, a, p = (int(at[knob]) for knob in ("w_bits", "a_bits", "psum_bits"))
        flows = self.definition.dataflow
        flow = cast(Dataflow, at["dataflow"]) if len(flows) > 1 else flows[0]
        offered = "psum_bits" in self.definition.knobs
        if not offered or max(w, a) > NARROW or flow == "os" or p == KNOBS["psum_bits"].neutral:
            return {}
        widest_w, widest_a = self.definition.widest
        if w > widest_w or a > widest_a:
            return {}
        tile = self.machine.array(self.machine.lines[self.machine.line(w, a)], flow).pci
        return {} if partial_sums(layer, tile) == 1 else {"tile": tile, "dataflow": flow}

    def cost(self, shape: NetworkShape, choices: Mapping[str, IntArray]) -> dict[str, FloatArray]:
        """Cost many designs at once, each the same however many are asked for.

        Args:
            choices: as `accepted_indices` takes them.

        Returns:
            metric -> float64 (n_designs,). `speedup` is against the widest operands in every
            layer, with whole partial sums and the first dataflow of the file that can hold all.

        Raises:
            SpecError: values that the platform does not take, a network without products, or a
                layer that it cannot hold.
        """
        indices = accepted_indices(self, shape, choices)
        _refuse_nothing(shape)
        codes, digest = _codes(shape, indices), self.definition.digest
        choices_each = prod(len(KNOBS[knob].choices) for knob in indices) * len(BITS)
        events = np.zeros((len(codes), 2 + self.prices.size), dtype=np.int64)
        for i, layer in enumerate(shape.layers):
            same = replace(layer, name="", consumers=())
            ledger = _ledger(digest, same, choices_each, events.shape[1])
            ledger.add_to(events, codes[:, i], partial(self._events, layer, tuple(indices)))
        # Counts are exact integers: designs that swap layers of one size tie to the last bit.
        cycles, stored = events[:, 0], events[:, 1] + VECTOR_BITS * shape.vector_parameters
        metrics = {
            "memory_mib": stored / _MIB_BITS,
            "speedup": self._reference(shape) / cycles,
            "latency_cycles": cycles.astype(np.float64),
            "energy_uj": self.prices.energy_pj(events[:, 2:], cycles) / _PICO_PER_MICRO,
        }
        if self.prices.area_um2 is not None:
            metrics["area_um2"] = np.full(len(codes), sum(self.prices.area_um2.values()))
        return metrics

    def refuse(
        self, shape: NetworkShape, allowed: Mapping[tuple[str, str], tuple[Value, ...]]
    ) -> None:
        """Refuse a space that offers a layer what no buffer holds (`dse.ports.Bounded`); partial
        sums need the same room whatever their bits and groups."""
        self._reference(shape)
        taken = [knob for knob in ("w_bits", "a_bits", "dataflow") if knob in self.knobs]
        for layer in shape.layers:
            readers = [name for name in layer.consumers if name in shape.names] or [layer.name]
            outputs = sorted({int(bits) for name in readers for bits in allowed["a_bits", name]})
            offered = (allowed[knob, layer.name] for knob in taken)
            for w, a, *chosen in product(*offered):
                flow = cast(Dataflow, chosen[0] if chosen else self.definition.dataflow[0])
                for o in outputs:
                    self._counted(layer, Choice(dataflow=flow, w=int(w), a=int(a), o=o))

    def breakdown(self, shape: NetworkShape, design: Design) -> list[dict[str, float | str]]:
        """Return the parts of one design's costs, a record a layer, "(other)" last.

        `latency_cycles` is the largest of `compute_cycles`, `sram_cycles` and `dram_cycles`,
        which `bound_by` names; `energy_uj` the sum of the other energies. Both, `memory_mib` and
        `area_um2` add up to the costs; `speedup` is the sum of `reference_cycles` over that of
        `latency_cycles`. `fits` says whether partial sums fit their buffer.

        Raises:
            UnknownNameError: a knob or layer that does not exist.
            SpecError: as `cost`.
        """
        indices = accepted_indices(self, shape, as_choices(shape, design))
        _refuse_nothing(shape)
        codes = _codes(shape, indices)
        widest = self._widest(shape)
        records: list[dict[str, float | str]] = []
        for i, layer in enumerate(shape.layers):
            at = self._choice(tuple(indices), int(codes[0, i]))
            found = self._counted(layer, at)
            reference = self._counted(layer, widest).cycles
            facts = {"macs": layer.macs, "weights": layer.weights}
            memory = {"memory_mib": layer.weights * at.w / _MIB_BITS}
            told = self._told(layer, at, found)
            records.append(
                {"layer": layer.name, **facts, **told, "reference_cycles": reference, **memory}
            )
        other: dict[str, float | str] = {
            "layer": "(other)",
            "vector_parameters": shape.vector_parameters,
            "elementwise_operations": shape.elementwise_operations,
            "memory_mib": VECTOR_BITS * shape.vector_parameters / _MIB_BITS,
        }
        if self.prices.area_um2 is not None:
            other |= {f"{part}_area_um2": area for part, area in self.prices.area_um2.items()}
            other["area_um2"] = sum(self.prices.area_um2.values())
        return with_shares([*records, other], ("latency_cycles", "memory_mib", "energy_uj"))

    def _told(self, layer: Layer, at: Choice, found: Counts) -> dict[str, float | str]:
        parts = self.prices.parts_pj(layer, found)
        energy = {f"{part}_energy_uj": pj / _PICO_PER_MICRO for part, pj in parts.items()}
        line = self.machine.lines[found.line]
        units = self.machine.rows * self.machine.columns * line.packed
        told: dict[str, float | str] = {
            **{"dataflow": at.dataflow, "w_bits": at.w, "a_bits": at.a, "output_bits": at.o},
            **{"psum_bits": found.sum_bits, "psum_kib": found.resident_bits / 8192},
            "fits": "yes" if found.fits else "no",
            "latency_cycles": found.cycles,
            "bound_by": found.bound_by,
            "compute_cycles": found.compute_cycles,
            "sram_cycles": found.sram_cycles,
            "dram_cycles": found.dram_cycles,
            "utilization": layer.macs * line.cycles / (found.cycles * units),
        }
        for memory in ("weights", "activations", "sums", "dram"):
            for way in ("read", "write"):
                told[f"{memory}_{way}_bits"] = getattr(found, f"{memory}_{way}")
        return {**told, **energy, "energy_uj": sum(energy.values())}

    def _events(self, layer: Layer, knobs: tuple[str, ...], code: int) -> list[int]:
        """Return cycles, stored bits, and what has a price, at a choice of `_codes`."""
        at = self._choice(knobs, code)
        found = self._counted(layer, at)
        return [found.cycles, layer.weights * at.w, *self.prices.events(layer, found)]

    def _choice(self, knobs: tuple[str, ...], code: int) -> Choice:
        code, output = divmod(code, len(BITS))
        at: dict[str, Value] = {}
        for knob in reversed(knobs):
            code, index = divmod(code, len(KNOBS[knob].choices))
            at[knob] = KNOBS[knob].choices[index]
        p = at.get("psum_bits", KNOBS["psum_bits"].neutral)
        return Choice(
            dataflow=cast(Dataflow, at.get("dataflow", self.definition.dataflow[0])),
            w=int(at["w_bits"]),
            a=int(at["a_bits"]),
            o=BITS[output],
            p=None if p == KNOBS["psum_bits"].neutral else int(p),
            group=at.get("psum_group", KNOBS["psum_group"].neutral),
        )

    def _widest(self, shape: NetworkShape) -> Choice:
        """Return what speed is told against."""
        knobs = self.knobs
        w, a = (max(int(bits) for bits in knobs[knob]) for knob in ("w_bits", "a_bits"))
        choices = [Choice(dataflow=flow, w=w, a=a, o=a) for flow in self.definition.dataflow]
        for choice in choices:
            if all(self._holds(layer, choice) for layer in shape.layers):
                return choice
        return choices[0]

    def _reference(self, shape: NetworkShape) -> int:
        widest = self._widest(shape)
        return sum(self._counted(layer, widest).cycles for layer in shape.layers)

    def _counted(self, layer: Layer, at: Choice) -> Counts:
        try:
            return _counts(self.machine, replace(layer, name="", consumers=()), at)
        except NoRoomError as error:
            flows = self.definition.dataflow
            held = [flow for flow in flows if self._holds(layer, replace(at, dataflow=flow))]
            raise SpecError(
                f"platform {self.name!r} cannot hold layer {layer.name!r} under dataflow "
                f"{at.dataflow} with w_bits={at.w} and a_bits={at.a}: {error}; dataflows of the "
                "platform that can: "
                f"{', '.join(held) or 'none'}"
            ) from error

    def _holds(self, layer: Layer, at: Choice) -> bool:
        try:
            _counts(self.machine, replace(layer, name="", consumers=()), at)
        except NoRoomError:
            return False
        return True


def _ordered(knob: str, values: object) -> tuple[Value, ...]:
    given = cast(list[Value], values)
    return tuple(choice for choice in KNOBS[knob].choices if choice in given)


def _codes(shape: NetworkShape, indices: Mapping[str, IntArray]) -> IntArray:
    """Return a number for each layer's choice of the knobs and of its output's width,
    (n_designs, n_layers): that of the widest consumer's inputs; what no layer reads is as wide
    as the inputs of its own layer."""
    place = {name: i for i, name in enumerate(shape.names)}
    widths = indices["a_bits"]
    outputs = np.empty_like(widths)
    for i, layer in enumerate(shape.layers):
        readers = [place[name] for name in layer.consumers if name in place] or [i]
        outputs[:, i] = widths[:, readers].max(axis=1)
    codes = np.zeros_like(widths)
    for knob, column in indices.items():
        codes = codes * len(KNOBS[knob].choices) + column
    return codes * len(BITS) + outputs


def _refuse_nothing(shape: NetworkShape) -> None:
    if not shape.layers:
        raise SpecError("a network to be costed on an array must have products, got none")
