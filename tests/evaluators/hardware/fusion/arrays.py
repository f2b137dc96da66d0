"""Arrays for tests of the tiling simulator."""

from dataclasses import replace

from evaluators.hardware.constants import load_constants
from evaluators.hardware.fusion.array import FusionArray, Loops
from evaluators.hardware.fusion.configuration import Machine, machine, parameters

SHEET = load_constants("bitfusion-cycles")


def made(**params: object) -> Machine:
    return machine(parameters(params, SHEET), SHEET)


DEFAULT: FusionArray = made(dram="simulator").array
"""16 x 32 units, 64, 32 and 16 KiB, 192 bits a cycle, 15 pJ a bit of DRAM."""


def with_link(bits_per_cycle: int) -> FusionArray:
    return replace(DEFAULT, dram_bits_per_cycle=bits_per_cycle)


def linear(inputs: int, outputs: int, batch: int) -> Loops:
    return Loops(batch=batch, inputs=inputs, outputs=outputs)


def convolution(kernel: int, side: int, inputs: int, outputs: int, batch: int) -> Loops:
    return Loops(batch=batch, inputs=inputs, outputs=outputs, side=side, kernel=kernel)
