"""One form for all designs that compute the same: what has no effect stands at neutral."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from dse.design import Design, NetworkShape, Value
from dse.knobs import KNOBS
from dse.ports import Platform

At = Mapping[str, Value]
"""knob -> what it stands at in one layer; knobs left out stand at neutral."""

Sums = Callable[[str, At], int]
"""Gives for a layer (its name, its knobs) how many partial sums make up an output; 1: none is
stored, so sums are exact. Of the knobs, it looks at `dataflow` and the widths alone."""

# 16 bits are fixed point, always one symmetric range a tensor.
_WIDTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "act_quantizer": ("a_bits",),
    "w_granularity": ("w_bits",),
    "a_symmetry": ("a_bits",),
}
# Where both operands are activations, both are quantized as activations are.
_DYNAMIC_WIDTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "act_quantizer": ("a_bits", "w_bits"),
    "w_granularity": (),
    "a_symmetry": ("a_bits", "w_bits"),
}
_SUMS: Final[Mapping[str, tuple[str, ...]]] = {
    "psum_bits": ("dataflow", "w_bits", "a_bits"),
    "psum_group": ("psum_bits", "dataflow", "w_bits", "a_bits"),
}


def one_sum(layer: str, at: At) -> int:
    """Be the sums of platforms that store no partial sums."""
    return 1


@final
@dataclass(frozen=True, slots=True)
class Canon:
    """Says which choices of one network on some platforms are the same.

    Attributes:
        dynamic: names of the layers whose operands are both activations.
        sums: how many partial sums the platforms make of a layer.
    """

    dynamic: frozenset[str] = frozenset()
    sums: Sums = one_sum

    def design(self, design: Design) -> Design:
        """Return the design that stands for all that compute the same, so that equal ones have
        equal hashes."""
        if not any(self.governed(knob) for knob in design.choices):
            return design
        at: dict[str, dict[str, Value]] = {}
        for knob, values in design.choices.items():
            for layer, value in values.items():
                at.setdefault(layer, {})[knob] = value
        return Design(
            {
                knob: {layer: self.value(knob, layer, at[layer]) for layer in values}
                for knob, values in design.choices.items()
            }
        )

    def value(self, knob: str, layer: str, at: At) -> Value:
        """Return what stands for the value of `knob` in a layer whose knobs stand at `at`."""
        stands, neutral = _stands(knob, at), KNOBS[knob].neutral
        if knob in _SUMS:
            return self._sum_value(knob, layer, at)
        if stands == neutral or knob not in _WIDTHS:
            return stands
        idle = all(_stands(k, at) == KNOBS[k].neutral for k in self.governors(knob, layer))
        return neutral if idle else stands

    def governors(self, knob: str, layer: str) -> tuple[str, ...]:
        """Return the knobs that decide what the values of `knob` do in a layer."""
        widths = _DYNAMIC_WIDTHS if layer in self.dynamic else _WIDTHS
        return widths.get(knob) or _SUMS.get(knob, ())

    @staticmethod
    def governed(knob: str) -> bool:
        """Tell whether `knob` is without effect in some layers or beside some choices."""
        return knob in _WIDTHS or knob in _SUMS

    def _sum_value(self, knob: str, layer: str, at: At) -> Value:
        wide = KNOBS["psum_bits"].neutral
        if _stands("psum_bits", at) == wide:
            return KNOBS[knob].neutral
        sums = self.sums(layer, at)
        if sums <= 1:
            return KNOBS[knob].neutral
        if knob == "psum_bits":
            return _stands(knob, at)
        return smallest_group(_stands(knob, at), sums)


def smallest_group(group: Value, sums: int) -> Value:
    """Return the smallest `psum_group` that takes the same steps over `sums` >= 2 partial sums.

    As many codes are alive as a group has, but the last sum is never one of them: groups of
    `sums - 1` and more fold at the first and at the last sum alone (APSQ, arXiv 2505.03748).
    """
    alive = alive_codes(group, sums)
    return alive if alive in KNOBS["psum_group"].choices else "all"


def alive_codes(group: Value, sums: int) -> int:
    """Return how many codes of partial sums are stored at once for each output."""
    return max(1, sums - 1 if isinstance(group, str) else min(group, sums - 1))


def canon_of(shape: NetworkShape, platforms: Sequence[Platform]) -> Canon:
    """Return the canon of a network whose partial sums `platforms` decide."""
    layers = {layer.name: layer for layer in shape.layers}
    deciding = [p for p in platforms if any(knob in p.knobs for knob in _SUMS)]

    def sums(name: str, at: At) -> int:
        for platform in deciding:
            told = platform.arithmetic(layers[name], at)
            if "tile" in told:
                return -(-layers[name].k // int(told["tile"]))
        return 1

    return Canon(dynamic=shape.dynamic, sums=sums)


def _stands(knob: str, at: At) -> Value:
    return at.get(knob, KNOBS[knob].neutral)
