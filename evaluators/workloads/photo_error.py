"""How wrong a classifier is on photos, and how far from the float network."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from evaluators.models.efficientnet import normalized
from evaluators.workloads.metrics import top_error

# Larger batches are slower: what a layer writes falls out of the processor's caches.
_BATCH = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """Photos, and what is known of them.

    Attributes:
        pixels: uint8 (photos, 3, side, side).
        classes: the right ones, int64 (photos,).
        reference: scores of the float network, (photos, classes).
    """

    pixels: Tensor
    classes: Tensor
    reference: Tensor


def scores(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return what a model says of photos (photos, 3, side, side): (photos, classes)."""
    with torch.no_grad():
        return torch.cat([model(normalized(batch)) for batch in torch.split(pixels, _BATCH)])


def measure(model: nn.Module, photos: Judged) -> dict[str, float]:
    """Return `error`, the share of photos whose most likely class is wrong, %, and `kl`."""
    found = scores(model, photos.pixels)
    wrong = top_error(found, photos.classes, among=1)
    return {
        "error": float(torch.as_tensor(wrong).mean()),
        "kl": divergence(photos.reference, found),
    }


def divergence(reference: Tensor, found: Tensor) -> float:
    """Return the mean of sum p log(p / q) over the photos, in nats, p being softmax of
    `reference` and q of `found`, both (photos, classes)."""
    q, p = (logits.double().log_softmax(1) for logits in (found, reference))
    # Rounding may bring a sum of 0 below it; clamping leaves NaN what it is.
    return float(kl_div(q, p, reduction="batchmean", log_target=True).clamp(min=0.0))
