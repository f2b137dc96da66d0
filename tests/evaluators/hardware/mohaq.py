"""Designs of the MOHAQ network for the tests of cost models."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dse.design import Design, NetworkShape
from dse.knobs import KNOBS
from dse.ports import IntArray
from evaluators.registry import Places
from evaluators.workloads.mohaq_sru import mohaq_sru

SHAPE: NetworkShape = mohaq_sru({}, Places(home=Path("unused"))).shape


def design(
    w_bits: int, a_bits: int | None = None, at: Mapping[str, int | tuple[int, int]] | None = None
) -> Design:
    """One width everywhere (a_bits = w_bits if left out), other ones `at` some layers."""
    everywhere = (w_bits, w_bits if a_bits is None else a_bits)
    pairs = {name: everywhere for name in SHAPE.names}
    for name, bits in (at or {}).items():
        pairs[name] = bits if isinstance(bits, tuple) else (bits, bits)
    return Design(
        {
            "w_bits": {name: pair[0] for name, pair in pairs.items()},
            "a_bits": {name: pair[1] for name, pair in pairs.items()},
        }
    )


def genes(text: str) -> Design:
    """A design in the paper's order: `W L0-3 / A L0-3 / W P1-3 / A P1-3 / W,A FC`."""
    w_l, a_l, w_p, a_p, fc = (
        [int(bits) for bits in group.split(",")] for group in text.split("/")
    )
    layers = ("L0", "L1", "L2", "L3", "P1", "P2", "P3", "FC")
    return Design(
        {
            "w_bits": dict(zip(layers, (*w_l, *w_p, fc[0]), strict=True)),
            "a_bits": dict(zip(layers, (*a_l, *a_p, fc[1]), strict=True)),
        }
    )


def indices(designs: Sequence[Design]) -> dict[str, IntArray]:
    """Designs as a platform's `cost` takes them."""
    return {
        knob: np.array(
            [
                [KNOBS[knob].choices.index(d.value(knob, name)) for name in SHAPE.names]
                for d in designs
            ],
            dtype=np.int64,
        ).reshape(len(designs), len(SHAPE.layers))
        for knob in ("w_bits", "a_bits")
    }
