"""How far the likeness that a sentence encoder finds is from what people say, and from its own in
float."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """Texts and how alike pairs of them are.

    Attributes:
        tokens: int64 (texts, longest), each row ended by 0.
        pairs: places in `tokens`: int64 (pairs, 2).
        judged: by people, higher is more alike: float64 (pairs,).
        reference: cosines of the float network: float64 (pairs,).
    """

    tokens: Tensor
    pairs: Tensor
    judged: FloatArray
    reference: FloatArray


def batches(tokens: Tensor, size: int = 32) -> list[tuple[Tensor, Tensor]]:
    """Return places (batch,) and tokens (batch, longest of it), texts of like length together."""
    lengths = (tokens != 0).sum(1)
    order = lengths.argsort(stable=True)
    return [(rows, tokens[rows, : int(lengths[rows].max())]) for rows in torch.split(order, size)]


def cosines(model: nn.Module, tokens: Tensor, pairs: Tensor) -> FloatArray:
    """Return the cosines of pairs of texts: float64 (pairs,).

    Args:
        model: takes tokens (batch, length) and returns vectors of length 1: (batch, width).
        tokens, pairs: as in `Judged`.
    """
    with torch.inference_mode():
        ordered = [(rows, model(batch)) for rows, batch in batches(tokens)]
        rows = torch.cat([rows for rows, _ in ordered])
        vectors = torch.cat([vectors for _, vectors in ordered]).double()[rows.argsort()]
        found: FloatArray = (vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(1).numpy()
    return found


def measure(
    model: nn.Module,
    texts: Judged,
    correlation: Callable[[FloatArray, FloatArray], float],
) -> dict[str, float]:
    """Return `error`, 100 (1 - correlation with the people), and `infidelity`, 100 (1 - Pearson's
    correlation with the float network); both in %, 100 where nothing is alike."""
    found = cosines(model, texts.tokens, texts.pairs)
    return {
        "error": 100 * (1 - correlation(found, texts.judged)),
        "infidelity": max(100 * (1 - pearson(found, texts.reference)), 0.0),
    }


def pearson(first: FloatArray, second: FloatArray) -> float:
    """Return the correlation of two samples (n,); 0 if either does not vary.

    NaN among the values makes it NaN.
    """
    a, b = first - first.mean(), second - second.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return 0.0 if spread == 0 else float(a @ b) / spread


def spearman(first: FloatArray, second: FloatArray) -> float:
    """Return the correlation of two samples' ranks (n,), equal values at their mean rank."""
    return pearson(_ranks(first), _ranks(second))


def _ranks(values: FloatArray) -> FloatArray:
    if np.isnan(values).any():
        return values
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: FloatArray = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def pack(splits: Mapping[str, Judged], calibration: Tensor) -> dict[str, Tensor]:
    """Lay texts out as tensors for a file."""
    tensors = {"calibration": calibration}
    for name, texts in splits.items():
        tensors[f"{name}/tokens"] = texts.tokens
        tensors[f"{name}/pairs"] = texts.pairs
        tensors[f"{name}/judged"] = torch.from_numpy(texts.judged)
        tensors[f"{name}/reference"] = torch.from_numpy(texts.reference)
    return tensors


def unpack(tensors: Mapping[str, Tensor], splits: Sequence[str]) -> dict[str, Judged]:
    """Read what `pack` laid out."""
    return {
        name: Judged(
            tokens=tensors[f"{name}/tokens"],
            pairs=tensors[f"{name}/pairs"],
            judged=tensors[f"{name}/judged"].numpy(),
            reference=tensors[f"{name}/reference"].numpy(),
        )
        for name in splits
    }
