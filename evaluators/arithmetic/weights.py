from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from evaluators.arithmetic.byte_paths import BytePath, Packed
from evaluators.arithmetic.parts import Part, weight_parts
from evaluators.arithmetic.products import heaviest_column


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Parts of weights below each other, as one matrix.

    Attributes:
        codes: int8 (parts * n, k).
        shifts: power of 2 that each part counts for.
        heaviest: of all of them.
    """

    codes: Tensor
    shifts: tuple[int, ...]
    heaviest: int


@final
class Weights:
    """The codes of a layer's weights, and what products need of them: made when first asked for,
    and kept, at no more than a byte for each byte of the codes.

    Attributes:
        codes: (n, …), int8 up to 8 bits and int16 beyond.
        heaviest: as `heaviest_column` has it.
    """

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes
        self.heaviest = heaviest_column(codes)
        self._packed: tuple[BytePath, Packed] | None = None

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The codes as sums of bytes."""
        return weight_parts(self.codes)

    @cached_property
    def stack(self) -> Stack:
        """The parts as a matrix."""
        codes = [part.codes.flatten(1) for part in self.parts]
        return Stack(
            codes=codes[0] if len(codes) == 1 else torch.cat(codes),
            shifts=tuple(part.shift for part in self.parts),
            heaviest=max(heaviest_column(part) for part in codes),
        )

    def packed(self, path: BytePath) -> Packed:
        """Return the matrix as a path wants it."""
        if self._packed is not None and self._packed[0] is path:
            return self._packed[1]
        packed = path.pack(self.stack.codes)
        if path.keeps:
            self._packed = path, packed
        return packed
