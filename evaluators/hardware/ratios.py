"""Cost model of accelerators described by a table of speed ratios (MOHAQ, arXiv 2108.01192).

With n_i the MACs of layer i, n_ew the element-wise operations, N = sum n_i + n_ew, and s_i the
ratio of layer i's throughput to that of 16-bit operands:

    memory   M = (sum weights_i w_i + 16 vector_parameters) / 8 / 2^20            MiB
    speedup  S = sum n_i s_i / N                        mode "paper", the authors' code
             S = N / (sum n_i / s_i + n_ew)             mode "latency", a ratio of times
    energy   E = (e_sram M_bits + sum n_i e_i) / 10^6                             uJ

The paper's speedup is an arithmetic mean of ratios without the element-wise work: it is
optimistic, and 16-bit operands everywhere give a little less than 1.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Final, Literal, cast, final, get_args

import numpy as np

from dse.design import Design, Layer, NetworkShape, Value
from dse.errors import SpecError
from dse.knobs import KNOBS
from dse.ports import FloatArray, IntArray
from evaluators.hardware.choices import accepted_indices, accepted_values, as_choices
from evaluators.hardware.constants import Constants
from evaluators.hardware.tables import counted, small, summed

Mode = Literal["paper", "latency"]

_MIB_BITS: Final = 8 * 2**20
_PICO_PER_MICRO: Final = 1e6
_AXES: Final = ("w_bits", "a_bits")
_FIXED_COLUMNS: Final = 2


def mode_of(platform: str, params: Mapping[str, object]) -> Mode:
    """Return the parameter `mode`, "paper" if left out.

    Raises:
        SpecError: another mode, or another parameter.
    """
    unknown = ", ".join(sorted(set(params) - {"mode"}))
    if unknown:
        raise SpecError(f"platform {platform!r} takes the parameter mode only, got {unknown}")
    mode = params.get("mode", "paper")
    modes: tuple[str, ...] = get_args(Mode)
    if mode not in modes:
        raise SpecError(
            f"platform {platform!r}: mode must be one of {', '.join(modes)}, got {mode!r}"
        )
    return cast(Mode, mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyModel:
    """Energies that the ratio model adds up.

    Attributes:
        mac_pj: operand width (both operands) -> pJ of one MAC.
        sram_pj_per_bit: reading one stored bit; each is read once an inference.
    """

    mac_pj: Mapping[int, float]
    sram_pj_per_bit: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RatioPlatform:
    """A platform whose layers run at a ratio given by weight and activation width.

    Attributes:
        mode: which of the two speedups `cost` yields.
        sheet: every figure of the model with its unit and source.
        ratios: (w_bits, a_bits) -> MACs per cycle against 16-bit operands.
        energy: None if the platform says nothing of energy.
    """

    name: str
    mode: Mode
    sheet: Constants
    ratios: Mapping[tuple[int, int], float]
    knobs: Mapping[str, tuple[Value, ...]]
    tied: tuple[tuple[str, ...], ...] = ()
    energy: EnergyModel | None = None

    @property
    def params(self) -> Mapping[str, object]:
        return {"mode": self.mode}

    @property
    def constants(self) -> list[dict[str, float | str]]:
        """Every figure of the model as plain data: name, value, unit, source."""
        return [asdict(constant) for constant in self.sheet]

    @property
    def metrics(self) -> tuple[str, ...]:
        costs = ("memory_mib", "speedup")
        return costs if self.energy is None else (*costs, "energy_uj")

    def arithmetic(self, layer: Layer, values: Mapping[str, Value]) -> Mapping[str, int | str]:
        """Ask for nothing: products are plain integers with wide accumulators."""
        return {}

    def cost(self, shape: NetworkShape, choices: Mapping[str, IntArray]) -> dict[str, FloatArray]:
        """Cost many designs at once, each the same however many are asked for.

        Args:
            choices: as `accepted_indices` takes them.

        Returns:
            metric -> float64 (n_designs,).

        Raises:
            SpecError: widths that the platform does not take, or a network without operations.
        """
        indices = accepted_indices(self, shape, choices)
        total = summed(
            self._tables(shape),
            lambda part: counted(_AXES, small(indices, part)),
            size=len(indices["w_bits"]),
            columns=_FIXED_COLUMNS + len(self._widths),
        )
        bits = total[:, 0] + self._vector_bits(shape)
        # Ratios are powers of two, so all sums so far are exact. With rounding left to the
        # totals, designs that swap layers of one size tie to the last bit, as they should.
        operations = _operations(shape)
        if self.mode == "paper":
            speedup = total[:, 1] / operations
        else:
            speedup = operations / (total[:, 1] + shape.elementwise_operations)
        costs = {"memory_mib": bits / _MIB_BITS, "speedup": speedup}
        if self.energy is not None:
            picojoules = self.energy.sram_pj_per_bit * bits
            for column, width in enumerate(self._widths, start=_FIXED_COLUMNS):
                picojoules = picojoules + self.energy.mac_pj[width] * total[:, column]
            costs["energy_uj"] = picojoules / _PICO_PER_MICRO
        return costs

    def breakdown(self, shape: NetworkShape, design: Design) -> list[dict[str, float | str]]:
        """Return the parts of one design's costs, a record a layer, "(other)" last.

        `memory_mib` and, where the platform knows energy, `energy_uj` = `sram_energy_uj` +
        `mac_energy_uj` add up to the costs. In mode "paper" `speedup` is n_i s_i / N and adds up
        too; in mode "latency" `cycles` is n_i / s_i, the time of one 16-bit unit, and the
        speedup is N over their sum. `…_share` is a record's part of the total. Layers also tell
        `macs`, `weights`, `w_bits`, `a_bits` and `macs_per_cycle` (s_i), the last record
        `vector_parameters` and `elementwise_operations`.

        Raises:
            UnknownNameError: a knob or layer that does not exist.
            SpecError: as `cost`.
        """
        values = accepted_values(self, shape, as_choices(shape, design))
        operations = _operations(shape)
        records: list[dict[str, float | str]] = []
        for i, layer in enumerate(shape.layers):
            w, a = int(values["w_bits"][0, i]), int(values["a_bits"][0, i])
            ratio = self.ratios[w, a]
            facts = {"macs": layer.macs, "weights": layer.weights, "w_bits": w, "a_bits": a}
            time = self._time(layer.macs * ratio / operations, layer.macs / ratio)
            parts = self._parts(layer.weights * w, layer.macs, w)
            records.append(
                {"layer": layer.name, **facts, "macs_per_cycle": ratio, **time, **parts}
            )
        facts = {
            "vector_parameters": shape.vector_parameters,
            "elementwise_operations": shape.elementwise_operations,
        }
        time = self._time(0.0, float(shape.elementwise_operations))
        parts = self._parts(self._vector_bits(shape))
        records.append({"layer": "(other)", **facts, **time, **parts})
        return _with_shares(records, ("speedup", "cycles", "memory_mib", "energy_uj"))

    def _time(self, paper: float, cycles: float) -> dict[str, float]:
        return {"speedup": paper} if self.mode == "paper" else {"cycles": cycles}

    def _parts(self, bits: int, macs: int = 0, width: int = 16) -> dict[str, float]:
        parts = {"memory_mib": bits / _MIB_BITS}
        if self.energy is not None:
            sram = self.energy.sram_pj_per_bit * bits / _PICO_PER_MICRO
            mac = self.energy.mac_pj[width] * macs / _PICO_PER_MICRO
            parts |= {"sram_energy_uj": sram, "mac_energy_uj": mac, "energy_uj": sram + mac}
        return parts

    def _vector_bits(self, shape: NetworkShape) -> int:
        return shape.vector_parameters * int(self.sheet["vector_parameter_bits"])

    @property
    def _widths(self) -> tuple[int, ...]:
        """Operand widths whose MACs are counted apart."""
        return () if self.energy is None else tuple(self.energy.mac_pj)

    def _tables(self, shape: NetworkShape) -> FloatArray:
        """Return of each layer weight bits, its part of the speedup, and MACs at each of the
        widths: (layers, choices of w_bits and a_bits, figures). What the platform does not take
        is not a number."""
        macs = np.array([layer.macs for layer in shape.layers], dtype=np.float64)[:, None]
        weights = np.array([layer.weights for layer in shape.layers], dtype=np.float64)[:, None]
        pairs = [(int(w), int(a)) for w, a in product(*(KNOBS[k].choices for k in _AXES))]
        w_bits = np.array([w for w, _ in pairs])
        ratio = np.array([self.ratios.get(pair, math.nan) for pair in pairs])
        speed = macs * ratio if self.mode == "paper" else macs / ratio
        counts = [macs * (w_bits == width) for width in self._widths]
        return np.stack([weights * w_bits, speed, *counts], axis=-1)


def _operations(shape: NetworkShape) -> int:
    operations = shape.macs + shape.elementwise_operations
    if operations == 0:
        raise SpecError("a network to be costed must have operations, got none")
    return operations


def _with_shares(
    records: list[dict[str, float | str]], figures: tuple[str, ...]
) -> list[dict[str, float | str]]:
    for figure in figures:
        parts = [float(record[figure]) for record in records if figure in record]
        total = sum(parts)
        for record, part in zip(records, parts, strict=False):
            record[f"{figure.removesuffix('_mib').removesuffix('_uj')}_share"] = (
                part / total if total else 0.0
            )
    return records
