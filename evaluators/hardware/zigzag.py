"""A second opinion on energy and latency: bits and cycles as ZigZag counts them.

ZigZag (`zigzag-dse`, MIT) takes tenths of a second a layer, so this platform is for a few designs:
the front of a finished job. It runs each layer on the two sides of the array that its dataflow
spans, under the mapping of that dataflow; energies a bit and a MAC are ours. It knows no groups of
partial sums: a design is costed as if each sum were folded at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast, final

import numpy as np

from dse.design import Design, Layer, NetworkShape, Value
from dse.errors import EvaluationError, SpecError
from dse.knobs import BITS, KNOBS
from dse.ports import FloatArray, IntArray
from evaluators.hardware.accesses import Array, Dataflow
from evaluators.hardware.choices import accepted_indices, as_choices
from evaluators.hardware.psum_accelerator import PsumAccelerator, psum_accelerator
from evaluators.hardware.zigzag_process import LayerRequest, zigzag_account

_METRICS: Final = ("memory_mib", "energy_uj", "latency_cycles")
_TENSORS: Final = ("weight", "input", "output")
_KIB_BITS: Final = 8 * 1024
_PICO_PER_MICRO: Final = 1e6
_LIMIT_S: Final = 60.0


def zigzag(params: Mapping[str, object]) -> "Zigzag":
    """Make the platform.

    Args:
        params: those of `psum-accelerator` but for `profile`, and `timeout_s`: the longest that
            ZigZag may take over one layer.

    Raises:
        SpecError: another parameter, or one out of range.
    """
    own = dict(params)
    timeout_s = own.pop("timeout_s", _LIMIT_S)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or timeout_s <= 0:
        raise SpecError(
            f"platform 'zigzag': timeout_s must be a positive number, got {timeout_s!r}"
        )
    if "profile" in own:
        raise SpecError("platform 'zigzag' takes no parameter 'profile': it counts its own way")
    accelerator = psum_accelerator({**own, "profile": "zigzag"})
    return Zigzag(accelerator=accelerator, timeout_s=float(timeout_s))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Zigzag:
    """The accelerator of partial sums, as ZigZag sees it.

    Attributes:
        timeout_s: the longest that one layer may take.
    """

    accelerator: PsumAccelerator
    timeout_s: float

    name = "zigzag"
    tied: tuple[tuple[str, ...], ...] = ()
    metrics: tuple[str, ...] = _METRICS

    @property
    def params(self) -> Mapping[str, object]:
        own = {k: v for k, v in self.accelerator.params.items() if k != "profile"}
        return {**own, "timeout_s": self.timeout_s}

    @property
    def knobs(self) -> Mapping[str, tuple[Value, ...]]:
        return self.accelerator.knobs

    @property
    def constants(self) -> list[dict[str, float | str]]:
        return self.accelerator.constants

    def arithmetic(self, layer: Layer, values: Mapping[str, Value]) -> Mapping[str, int | str]:
        return self.accelerator.arithmetic(layer, values)

    def cost(self, shape: NetworkShape, choices: Mapping[str, IntArray]) -> dict[str, FloatArray]:
        """Cost designs layer by layer, equal layers once.

        Returns:
            metric -> float64 (n_designs,); energy and latency are not a number where ZigZag has
            no account of some layer: `breakdown` says why.

        Raises:
            SpecError: values that the platform does not take.
        """
        indices = accepted_indices(self, shape, choices)
        rows = [
            self._rows(shape, {knob: found[i] for knob, found in indices.items()})
            for i in range(len(indices["w_bits"]))
        ]
        memory = self.accelerator.cost(shape, choices)["memory_mib"]
        costs = {"memory_mib": memory}
        for metric in ("energy_uj", "latency_cycles"):
            sums = [sum(float(r.get(metric, "nan")) for r in row) for row in rows]
            costs[metric] = np.array(sums, dtype=np.float64)
        return costs

    def breakdown(self, shape: NetworkShape, design: Design) -> list[dict[str, float | str]]:
        """Return a record a layer, "(other)" last; a layer that ZigZag has no account of has
        `failed` in place of its figures."""
        indices = accepted_indices(self, shape, as_choices(shape, design))
        records = self._rows(shape, {knob: found[0] for knob, found in indices.items()})
        ours = self.accelerator.breakdown(shape, design)
        for record, known in zip(records, ours, strict=False):
            record["memory_mib"] = known["memory_mib"]
        other = {key: ours[-1][key] for key in ("layer", "memory_mib")}
        return [*records, {**other, "energy_uj": 0.0, "latency_cycles": 0.0}]

    def _rows(
        self, shape: NetworkShape, at: Mapping[str, IntArray]
    ) -> list[dict[str, float | str]]:
        place = {name: i for i, name in enumerate(shape.names)}
        return [
            self._row(
                layer,
                {knob: int(found[i]) for knob, found in at.items()},
                max(int(at["a_bits"][place[c]]) for c in layer.consumers or (layer.name,)),
            )
            for i, layer in enumerate(shape.layers)
        ]

    def _row(self, layer: Layer, at: Mapping[str, int], output: int) -> dict[str, float | str]:
        values = {knob: KNOBS[knob].choices[index] for knob, index in at.items()}
        w, a, o = int(values["w_bits"]), int(values["a_bits"]), BITS[output]
        stored = "tile" in self.arithmetic(layer, values)
        p = int(values["psum_bits"]) if stored else 32
        request = self._request(layer, cast(Dataflow, values["dataflow"]), (w, a, p, o))
        facts: dict[str, float | str] = {"layer": layer.name, "macs": layer.macs}
        facts |= {"w_bits": w, "a_bits": a, "psum_bits": p, "output_bits": o}
        try:
            counts = zigzag_account(request, self.timeout_s)
        except EvaluationError as error:
            return {**facts, "failed": str(error)}
        parts = self._energies(layer, (w, a), counts)
        told = {f"{part}_energy_uj": energy for part, energy in parts.items()}
        cycles = layer.groups * counts["cycles"]
        return {**facts, **told, "energy_uj": sum(parts.values()), "latency_cycles": cycles}

    def _energies(
        self, layer: Layer, widths: tuple[int, int], counts: Mapping[str, float]
    ) -> dict[str, float]:
        machine = self.accelerator.machine
        technology, buffers = machine.technology, machine.buffers
        sizes = (buffers.weight_kib, buffers.input_kib, buffers.sum_kib)
        w, a = (np.array(bits) for bits in widths)
        parts = {"mac": layer.macs * float(technology.mac_pj(w, a))}
        for tensor, kib in zip(_TENSORS, sizes, strict=True):
            sram = technology.sram_pj(kib, sized=True)
            read, written, fetched, drained = (
                counts[f"{tensor}_{place}_{way}"]
                for place in ("sram", "dram")
                for way in ("read", "written")
            )
            on_chip = read * sram.read_pj + written * sram.write_pj
            parts[f"{tensor}_sram"] = layer.groups * on_chip
            parts[f"{tensor}_dram"] = layer.groups * (fetched + drained) * technology.dram_pj
        return {part: energy / _PICO_PER_MICRO for part, energy in parts.items()}

    def _request(
        self, layer: Layer, dataflow: Dataflow, widths: tuple[int, int, int, int]
    ) -> LayerRequest:
        machine = self.accelerator.machine
        rows, columns = _sides(machine.array, dataflow)
        w, a, p, o = widths
        return LayerRequest(
            dataflow=dataflow,
            m=layer.m,
            k=layer.k,
            n=layer.n,
            rows=rows,
            columns=columns,
            w=w,
            a=a,
            p=p,
            o=o,
            input_bits=int(machine.buffers.input_kib * _KIB_BITS),
            weight_bits=int(machine.buffers.weight_kib * _KIB_BITS),
            output_bits=int(machine.buffers.sum_kib * _KIB_BITS),
            sram_width=machine.sram_width,
            dram_width=machine.dram_width,
        )


def _sides(array: Array, dataflow: Dataflow) -> tuple[int, int]:
    if dataflow == "ws":
        return array.pci, array.pco
    return (array.pci, array.po) if dataflow == "is" else (array.po, array.pco)
