"""Which layers' outputs a tensor was computed from, and how much was computed besides.

Below the modules every step of a forward pass is an aten operation. Followed here are storages
rather than tensors, so that views and writes in place need no rules of their own: what is written
into a storage stays there, mixed with what it held.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_PRODUCTS = frozenset(
    """addbmm addmm addmv _addmm_activation baddbmm bmm dot mm mv vdot linear matmul
    convolution _convolution convolution_overrideable mkldnn_convolution mkldnn_linear
    mkldnn_rnn_layer _cudnn_rnn miopen_rnn _trilinear _euclidean_dist _cdist_forward
    _native_multi_head_attention _transformer_encoder_layer_fwd _grouped_mm _scaled_mm _int_mm
    _weight_int8pack_mm _weight_int4pack_mm _sparse_mm _sparse_addmm""".split()
)
_MOVES = frozenset(
    """_to_copy _unsafe_view alias bernoulli_ cat channel_shuffle clone col2im constant_pad_nd
    copy_ embedding expand_copy fill fill_ flip gather im2col index index_copy index_copy_
    index_fill index_fill_ index_put index_put_ index_select lift_fresh lift_fresh_copy
    masked_fill masked_fill_ masked_scatter masked_select normal_ pixel_shuffle pixel_unshuffle
    reflection_pad1d reflection_pad2d repeat repeat_interleave replication_pad1d
    replication_pad2d resize_ roll scatter scatter_ select_scatter slice_scatter split_with_sizes
    stack take tril triu tril_ triu_ unsafe_split unsafe_split_with_sizes uniform_ where
    zero zero_""".split()
)


@final
class DataFlow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the aten operations of a forward pass.

    Attributes:
        operations: elements of arithmetic so far. Each operation with floating-point input and
            output counts the elements of the largest tensor that it reads or writes: an addition
            or activation its outputs, a sum, mean or pooling its inputs, a normalization or
            softmax each element once. Not counted: moving, copying, padding, gathering and
            selecting, views, making constants, arithmetic on integers, comparisons, and products.
    """

    def __init__(
        self, *, within_product: Callable[[], bool], on_product: Callable[[str], None]
    ) -> None:
        """Take what knows of modules.

        Args:
            within_product: whether the pass is inside a module whose operations count as one.
            on_product: told of every other matrix product, by the name of its operation.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0
        self._within_product = within_product
        self._on_product = on_product
        # Weak references keep an address from being used again, not the data from being freed.
        self._sources: dict[StorageWeakRef, frozenset[str]] = {}
        self._read: set[StorageWeakRef] = set()

    def sources(self, tensors: Iterable[Tensor]) -> frozenset[str]:
        """Return the layers whose outputs these were computed from, through no other layer."""
        storages = (_storage(tensor) for tensor in tensors)
        found = (self._sources.get(storage) for storage in storages if storage is not None)
        return frozenset().union(*(names for names in found if names))

    def was_read(self, tensor: Tensor) -> bool:
        """Tell whether an operation outside the products has read a tensor's storage."""
        return _storage(tensor) in self._read

    def produced(self, layer: str, output: Tensor) -> None:
        """Take `output` as a layer's."""
        storage = _storage(output)
        if storage is not None:
            self._sources[storage] = frozenset({layer})

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here; to keep the compiler off, torch would load it first (4 s).
        return False

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # What aten operations take and give back is their own: hence Any.
        if torch.is_inference_mode_enabled():
            # There even `linear` arrives whole, elsewhere as the `addmm` that it is made of.
            with self:
                made: Any = func.decompose(*args, **(kwargs or {}))
            if made is not NotImplemented:
                return made
        output = func(*args, **(kwargs or {}))
        if not self._within_product():
            read, written = _tensors((args, kwargs)), _tensors(output)
            self._read.update(s for s in map(_storage, read) if s is not None)
            self._mix(read, written)
            self._count(func, read, written)
        return output

    def _mix(self, read: list[Tensor], written: list[Tensor]) -> None:
        names = self.sources(read)
        if not names:
            return
        for tensor in written:
            storage = _storage(tensor)
            if storage is not None:
                self._sources[storage] = names | self._sources.get(storage, frozenset())

    def _count(self, func: OpOverload, read: list[Tensor], written: list[Tensor]) -> None:
        name = func.overloadpacket.__name__
        if name in _PRODUCTS or name.startswith("_scaled_dot_product"):
            self._on_product(f"aten.{name}")
        elif not (func.is_view or name in _MOVES or name.startswith("new_")):
            real = [t for t in written if t.is_floating_point() or t.is_complex()]
            given = [t for t in read if t.is_floating_point() or t.is_complex()]
            if real and given and not name.endswith("_like"):
                self.operations += max(t.numel() for t in (*given, *real))


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _storage(tensor: Tensor) -> StorageWeakRef | None:
    if tensor.layout != torch.strided or tensor.is_nested:
        return None
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
