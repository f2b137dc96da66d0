from collections.abc import Iterator
from contextlib import contextmanager

import torch


def settle_torch() -> None:
    """Have torch compute on one thread, on which float sums depend, and multiply float32 in full.

    A network's own code may have allowed bfloat16 or TF32 for speed
    (`torch.set_float32_matmul_precision`); codes of 16 bits are rounded there.
    """
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    torch.backends.mkldnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


@contextmanager
def in_full() -> Iterator[None]:
    """Keep autocast, which a network's own code may be under, from rounding what runs inside."""
    with torch.autocast("cpu", enabled=False):
        yield
