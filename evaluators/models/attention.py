"""Attention whose matrix products are modules of their own, so that each can be quantized."""

from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.arithmetic.matmul import MatMul


def separate_attention(model: nn.Module) -> None:
    """Replace every `nn.MultiheadAttention` below `model` by a `SeparateAttention`, in place.

    One that is registered under several names stays one module. What no `SeparateAttention` can
    do (`add_bias_kv`, `add_zero_attn`, subclasses) is left alone.
    """
    made: dict[nn.MultiheadAttention, SeparateAttention] = {}
    for parent in list(model.modules()):
        if isinstance(parent, nn.TransformerEncoder):
            # Its fast path packs padded sequences for kernels that call no module at all.
            parent.use_nested_tensor = False
        for name, child in list(parent._modules.items()):
            if type(child) is nn.MultiheadAttention and _separable(child):
                if child not in made:
                    made[child] = SeparateAttention(child)
                setattr(parent, name, made[child])


def _separable(attention: nn.MultiheadAttention) -> bool:
    extended = attention.bias_k is not None or attention.add_zero_attn
    hooked = attention._forward_hooks or attention._forward_pre_hooks
    # A parametrized or pruned weight is computed anew from others at each call.
    plain = type(attention.out_proj).forward is nn.Linear.forward and all(
        name in attention._parameters for name in ("in_proj_weight", "q_proj_weight")
    )
    return plain and not extended and not hooked


@final
class SeparateAttention(nn.Module):
    """`nn.MultiheadAttention` with modules q_proj, k_proj, v_proj, qk, av and out_proj.

    Takes and returns the same, but for nested tensors. Rows whose keys are all masked attend to
    nothing and give zeros, as `scaled_dot_product_attention` has it.
    """

    # What nn.TransformerEncoderLayer asks before its fast path, which would bypass the modules:
    # without a packed bias it never takes it.
    in_proj_weight: ClassVar[None] = None
    in_proj_bias: ClassVar[None] = None
    _qkv_same_embed_dim: ClassVar[bool] = False

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim = attention.embed_dim
        self.num_heads = attention.num_heads
        self.head_dim = attention.head_dim
        self.batch_first = attention.batch_first
        self.dropout = attention.dropout
        if attention.in_proj_weight is not None:
            weights = attention.in_proj_weight.chunk(3)
        else:
            weights = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        packed = attention.in_proj_bias
        biases = (None, None, None) if packed is None else packed.chunk(3)
        self.q_proj, self.k_proj, self.v_proj = (
            _linear(weight, bias) for weight, bias in zip(weights, biases, strict=True)
        )
        self.qk = MatMul()
        self.av = MatMul()
        self.out_proj = _linear(attention.out_proj.weight, attention.out_proj.bias)
        self.train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what `nn.MultiheadAttention` returns: output, and weights if asked for.

        Raises:
            ValueError: a nested tensor, or `is_causal` without the mask that it speaks of.
        """
        if query.is_nested:
            raise ValueError("attention takes padded tensors with a mask, got a nested tensor")
        if is_causal and attn_mask is None:
            raise ValueError("attn_mask must be given with is_causal, got None")
        batched = query.dim() == 3
        first = 0 if self.batch_first or not batched else 1
        if not batched:
            query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
        heads = [
            self._split(project(part.transpose(0, first)))
            for project, part in (
                (self.q_proj, query),
                (self.k_proj, key),
                (self.v_proj, value),
            )
        ]
        mask = self._mask(heads[0], attn_mask, key_padding_mask)
        weights = _weights(self.qk, heads[0], heads[1], mask, scale=self.head_dim**-0.5)
        weights = functional.dropout(weights, self.dropout, self.training)
        joined = self.av(weights, heads[2]).transpose(1, 2).flatten(2)
        output = self.out_proj(joined).transpose(0, first)
        if not need_weights:
            return (output if batched else output.squeeze(0)), None
        told = weights.mean(1) if average_attn_weights else weights
        return (output, told) if batched else (output.squeeze(0), told.squeeze(0))

    def _split(self, projected: Tensor) -> Tensor:
        apart = (*projected.shape[:-1], self.num_heads, self.head_dim)
        return projected.reshape(apart).transpose(1, 2)

    def _mask(self, query: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
        """As an addend (batch or 1, heads or 1, queries or 1, keys)."""
        total = None
        if mask is not None:
            if mask.dim() == 3:
                mask = mask.reshape(-1, self.num_heads, *mask.shape[1:])
            total = _addend(mask, query)
        if padding is not None:
            batch = padding if padding.dim() == 2 else padding.unsqueeze(0)
            hidden = _addend(batch[:, None, None, :], query)
            total = hidden if total is None else total + hidden
        return total


@final
class ScaledDotProduct(nn.Module):
    """`functional.scaled_dot_product_attention` with its products as modules qk and av."""

    def __init__(self) -> None:
        super().__init__()
        self.qk = MatMul()
        self.av = MatMul()

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Return (..., queries, value size) of query (..., queries, size), key (..., keys, size)
        and value (..., keys, value size); a boolean mask is True where a query may look.

        Raises:
            ValueError: both a mask and `is_causal`.
        """
        if attn_mask is not None and is_causal:
            raise ValueError("attn_mask must be None with is_causal, got both")
        if enable_gqa:
            shared = query.size(-3) // key.size(-3)
            key = key.repeat_interleave(shared, -3)
            value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
        if is_causal:
            square = query.new_ones(query.size(-2), key.size(-2), dtype=torch.bool)
            attn_mask = square.tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = _addend(~attn_mask, query)
        weights = _weights(
            self.qk,
            query,
            key,
            attn_mask,
            scale=query.size(-1) ** -0.5 if scale is None else scale,
        )
        output: Tensor = self.av(functional.dropout(weights, dropout_p), value)
        return output


def _weights(
    qk: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, *, scale: float
) -> Tensor:
    scores: Tensor = qk(query * scale, key.transpose(-2, -1))
    if mask is None:
        return scores.softmax(-1)
    scores = scores + mask
    nothing = (scores == -torch.inf).all(-1, keepdim=True)
    # filled before as well: the gradient of a softmax of nothing but -inf is NaN
    return scores.masked_fill(nothing, 0.0).softmax(-1).masked_fill(nothing, 0.0)


def _addend(hidden: Tensor, like: Tensor) -> Tensor:
    if hidden.dtype != torch.bool:
        return hidden
    return torch.zeros_like(hidden, dtype=like.dtype).masked_fill(hidden, -torch.inf)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    n, k = weight.shape
    # On meta no initial weights are drawn: the global generator stays as it is.
    linear = nn.Linear(k, n, bias=bias is not None, device="meta")
    linear.weight = _parameter(weight)
    if bias is not None:
        linear.bias = _parameter(bias)
    return linear


def _parameter(part: Tensor) -> nn.Parameter:
    # A copy: slices of the packed parameter would drag each other along when the state is saved.
    values = part.detach().clone(memory_format=torch.contiguous_format)
    return nn.Parameter(values, requires_grad=part.requires_grad)
