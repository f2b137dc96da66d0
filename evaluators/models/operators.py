"""The operators that an exported program may name, and nothing else."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

# Without a source of randomness, without files, without uninitialised memory; and each checks its
# arguments: some internal ones (_reshape_alias, native_batch_norm, …) read beyond their tensors.
_ATEN: Final = frozenset(
    """
    abs acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d add addbmm addcdiv addcmul addmm alias all amax amin
    aminmax any arange argmax argmin argsort asin asinh atan atan2 atanh avg_pool1d
    avg_pool2d avg_pool3d baddbmm batch_norm bitwise_and bitwise_not bitwise_or bitwise_xor bmm
    broadcast_tensors broadcast_to bucketize cat ceil celu channel_shuffle chunk clamp clamp_max
    clamp_min clip clone concat concatenate constant_pad_nd contiguous conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d convolution copy copysign cos cosh
    cosine_similarity count_nonzero cumprod cumsum detach diag diag_embed diagonal diff
    div divide dot dropout einsum elu embedding eq erf erfc erfinv exp exp2 expand expand_as expm1
    eye feature_dropout fill flatten flip floor floor_divide fmax fmin fmod frac full full_like
    gather ge gelu glu greater greater_equal group_norm gt hardshrink hardsigmoid hardswish
    hardtanh hypot index index_add index_copy index_fill index_put index_select instance_norm
    isfinite isinf isnan kthvalue layer_norm le leaky_relu lerp less less_equal lift_fresh_copy
    lift_fresh linalg_norm linalg_vector_norm linear linspace log log10 log1p log2 log_sigmoid
    log_softmax logaddexp logcumsumexp logical_and logical_not logical_or logical_xor logit
    logsumexp lt masked_fill masked_scatter matmul max max_pool1d max_pool2d max_pool3d maximum
    mean median meshgrid min minimum mish mm movedim mse_loss mul multiply mv nan_to_num narrow
    native_group_norm native_layer_norm ne neg negative new_full new_ones
    new_zeros nonzero norm not_equal numpy_T one_hot ones ones_like outer pad permute
    pixel_shuffle pixel_unshuffle positive pow prelu prod ravel reciprocal reflection_pad1d
    reflection_pad2d relu relu6 remainder repeat repeat_interleave replication_pad1d
    replication_pad2d reshape reshape_as rms_norm roll rot90 round rsqrt rsub scalar_tensor
    scaled_dot_product_attention scatter scatter_add scatter_reduce select select_scatter selu
    sgn sigmoid sign signbit silu sin sinc sinh slice slice_scatter softmax softplus softshrink
    sort split split_with_sizes sqrt square squeeze stack std std_mean sub subtract sum
    sym_constrain_range sym_constrain_range_for_size sym_numel sym_size sym_storage_offset
    sym_stride t take take_along_dim tan tanh tensor_split tile to topk transpose tril triu
    true_divide trunc type_as unbind unflatten unfold unsqueeze upsample_bicubic2d
    upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d var var_mean vdot
    view view_as where xlogy zero zeros zeros_like
    _adaptive_avg_pool2d _assert_scalar _assert_tensor_metadata _log_softmax
    _safe_softmax _softmax _to_copy
    _unsafe_view
    """.split()
)
_NAMED: Final = re.compile(r"torch\.ops\.aten\.([A-Za-z]\w*|_[a-z]\w*)\.([A-Za-z]\w*)")


def _on_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep an operator to sizes: on texts and lists the same symbols mean other things."""

    def checked(*arguments: object) -> Any:
        if not all(isinstance(value, int | float) for value in arguments):
            raise TypeError(f"{function.__name__} takes numbers here")
        return function(*arguments)

    return checked


_SIZES: Final[Mapping[str, Callable[..., Any]]] = {
    f"{module}.{function.__name__.removeprefix('_')}": _on_numbers(function)
    for module, functions in {
        "_operator": (
            *(operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv),
            *(operator.mod, operator.neg, operator.eq, operator.ne, operator.lt, operator.le),
            *(operator.gt, operator.ge),
        ),
        "math": (math.ceil, math.floor, math.trunc),
        "torch": (torch.sym_max, torch.sym_min, torch.sym_int, torch.sym_float, torch.sym_not),
    }.items()
    for function in functions
}


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Do as `_native_batch_norm_legit_no_training`, which checks nothing."""
    outputs = functional.batch_norm(x, mean, variance, weight, bias, False, momentum, eps)
    return outputs, x.new_empty(0), x.new_empty(0)


_CHECKED: Final[Mapping[str, Callable[..., Any]]] = {
    "torch.ops.aten._native_batch_norm_legit_no_training.default": _batch_norm,
}


def find_operator(target: str) -> Callable[..., Any] | None:
    """Return the operator that a program's node names; None if a program may not name it."""
    if target in _SIZES:
        return _SIZES[target]
    if target in _CHECKED:
        return _CHECKED[target]
    named = _NAMED.fullmatch(target)
    if named is None:
        return None
    name, overload = named.groups()
    if name.removesuffix("_") not in _ATEN or "out" in overload.split("_"):
        return None
    packet = getattr(torch.ops.aten, name, None)
    if packet is None or overload not in packet.overloads():
        return None
    found = getattr(packet, overload)
    if any(argument.is_out for argument in found._schema.arguments):
        return None
    assert callable(found)
    return found  # type: ignore[no-any-return]


def writes(call: Callable[..., Any]) -> bool:
    """Tell whether an operator changes one of its arguments."""
    return isinstance(call, torch._ops.OpOverload) and call._schema.is_mutable
