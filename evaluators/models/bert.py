"""A sentence encoder of BERT's architecture, with modules named as published weights name them.

Devlin et al., BERT (arXiv 1810.04805), with sentences pooled as by Reimers and Gurevych,
Sentence-BERT (arXiv 1908.10084): the mean over a sentence's tokens, scaled to length 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.arithmetic.matmul import MatMul

PAD: Final = 0
"""The token that fills sentences up."""

_EPSILON: Final = 1e-12
_TOKEN_TYPES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BertSizes:
    """Sizes of an encoder.

    Attributes:
        vocabulary: tokens there are.
        positions: tokens a sentence may have.
        hidden: width of a token's vector.
        inner: width inside the feed-forward part.
    """

    vocabulary: int
    positions: int
    layers: int
    hidden: int
    heads: int
    inner: int


@final
class Bert(nn.Module):
    """Sentences to vectors of length 1.

    Padding is left out of everything but attention: the products of weights see the tokens of
    all sentences below each other.
    """

    def __init__(self, sizes: BertSizes, *, attention: bool) -> None:
        """Make an encoder whose parameters hold no values yet.

        Args:
            attention: the products inside attention are modules `qk` and `av`, that can be
                quantized.
        """
        super().__init__()
        with torch.device("meta"):
            self.embeddings = _Embeddings(sizes)
            self.encoder = _Encoder(sizes, attention=attention)
        self.to_empty(device="cpu")

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the vectors of sentences: (batch, hidden).

        Args:
            tokens: int64 (batch, length), each row ended by `PAD`, none of it all padding.
        """
        packing = _Packing.of(tokens)
        hidden = self.encoder(self.embeddings(tokens, packing), packing)
        summed = packing.padded(hidden).sum(1)
        return functional.normalize(summed / packing.counts, dim=-1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Packing:
    """Where the tokens of padded sentences are.

    Attributes:
        rows: of each token, in the sentences laid end to end: (tokens,).
        hidden: -inf where a sentence has no token, else 0: (batch, 1, 1, length).
        counts: tokens of each sentence: (batch, 1).
    """

    rows: Tensor
    hidden: Tensor
    counts: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> "_Packing":
        inside = tokens != PAD
        hidden = torch.zeros(tokens.shape).masked_fill(~inside, -torch.inf)
        rows = inside.flatten().nonzero().squeeze(1)
        return cls(rows, hidden[:, None, None, :], inside.sum(1, keepdim=True))

    def packed(self, values: Tensor) -> Tensor:
        """Leave the padding out: (batch, length, …) -> (tokens, …)."""
        return values.flatten(0, 1)[self.rows]

    def padded(self, values: Tensor) -> Tensor:
        """Put zeros where no tokens are: (tokens, width) -> (batch, length, width)."""
        batch, length = len(self.counts), self.hidden.shape[-1]
        flat = values.new_zeros(batch * length, values.shape[-1])
        return flat.index_copy(0, self.rows, values).view(batch, length, -1)


class _Embeddings(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(sizes.vocabulary, sizes.hidden)
        self.position_embeddings = nn.Embedding(sizes.positions, sizes.hidden)
        self.token_type_embeddings = nn.Embedding(_TOKEN_TYPES, sizes.hidden)
        self.LayerNorm = nn.LayerNorm(sizes.hidden, eps=_EPSILON)

    def forward(self, tokens: Tensor, packing: _Packing) -> Tensor:
        positions = torch.arange(tokens.shape[1]).expand(tokens.shape)
        summed = (
            self.word_embeddings(packing.packed(tokens))
            + self.position_embeddings(packing.packed(positions))
            + self.token_type_embeddings.weight[0]
        )
        normed: Tensor = self.LayerNorm(summed)
        return normed


class _Encoder(nn.Module):
    def __init__(self, sizes: BertSizes, *, attention: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(sizes, attention=attention) for _ in range(sizes.layers))

    def forward(self, values: Tensor, packing: _Packing) -> Tensor:
        for layer in self.layer:
            values = layer(values, packing)
        return values


class _Layer(nn.Module):
    def __init__(self, sizes: BertSizes, *, attention: bool) -> None:
        super().__init__()
        self.attention = _Attention(sizes, attention=attention)
        self.intermediate = _Intermediate(sizes)
        self.output = _Output(sizes.inner, sizes.hidden)

    def forward(self, values: Tensor, packing: _Packing) -> Tensor:
        attended = self.attention(values, packing)
        output: Tensor = self.output(self.intermediate(attended), attended)
        return output


class _Attention(nn.Module):
    def __init__(self, sizes: BertSizes, *, attention: bool) -> None:
        super().__init__()
        self.self = _SelfAttention(sizes, attention=attention)
        self.output = _Output(sizes.hidden, sizes.hidden)

    def forward(self, values: Tensor, packing: _Packing) -> Tensor:
        output: Tensor = self.output(self.self(values, packing), values)
        return output


class _SelfAttention(nn.Module):
    qk: Callable[[Tensor, Tensor], Tensor]
    av: Callable[[Tensor, Tensor], Tensor]

    def __init__(self, sizes: BertSizes, *, attention: bool) -> None:
        super().__init__()
        self.query = nn.Linear(sizes.hidden, sizes.hidden)
        self.key = nn.Linear(sizes.hidden, sizes.hidden)
        self.value = nn.Linear(sizes.hidden, sizes.hidden)
        self.qk = MatMul() if attention else torch.matmul
        self.av = MatMul() if attention else torch.matmul
        self._heads = sizes.heads
        self._scale = (sizes.hidden // sizes.heads) ** -0.5

    def forward(self, values: Tensor, packing: _Packing) -> Tensor:
        query, key, value = (
            self._split(packing.padded(project(values)))
            for project in (self.query, self.key, self.value)
        )
        scores = self.qk(query * self._scale, key.transpose(-2, -1)) + packing.hidden
        attended = self.av(scores.softmax(-1), value)
        return packing.packed(attended.transpose(1, 2).flatten(2))

    def _split(self, values: Tensor) -> Tensor:
        return values.view(*values.shape[:2], self._heads, -1).transpose(1, 2)


class _Intermediate(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.dense = nn.Linear(sizes.hidden, sizes.inner)

    def forward(self, values: Tensor) -> Tensor:
        return functional.gelu(self.dense(values))


class _Output(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=_EPSILON)

    def forward(self, values: Tensor, residual: Tensor) -> Tensor:
        output: Tensor = self.LayerNorm(self.dense(values) + residual)
        return output
