"""Layers of networks for pictures, square ones; sizes as their authors' code builds them."""

from collections.abc import Sequence
from typing import final

from dse.design import Layer, NetworkShape

_NORM = 2
"""Parameters of a normalisation by channel: scale and shift."""


@final
class _Layers:
    """Layers in order of execution; what reads a layer is told once it is known."""

    def __init__(self) -> None:
        self._layers: list[dict[str, object]] = []
        self._readers: dict[str, list[str]] = {}
        self.vectors = 0

    def conv(
        self,
        name: str,
        *,
        side: int,
        inputs: int,
        outputs: int,
        reads: Sequence[str],
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        vectors: int = _NORM,
    ) -> str:
        """Add a convolution (kernel 1: a linear layer at each position) and return its name.

        Args:
            side: of its output, in positions.
            reads: the layers whose outputs it reads.
            vectors: parameters an output channel beside the weights.
        """
        sizes = {"m": side**2, "k": inputs // groups * kernel**2, "n": outputs // groups}
        sizes |= {"groups": groups, "kernel": kernel, "stride": stride}
        self._add(name, reads, **sizes, input_elements=(side * stride) ** 2 * inputs)
        self.vectors += vectors * outputs
        return name

    def product(
        self, name: str, *, m: int, k: int, n: int, groups: int, reads: Sequence[str]
    ) -> str:
        """Add a product of two activations."""
        self._add(name, reads, m=m, k=k, n=n, groups=groups, dynamic=True)
        return name

    def shape(self) -> NetworkShape:
        layers = (
            Layer(**sizes, consumers=tuple(self._readers.get(str(sizes["name"]), ())))  # type: ignore[arg-type]
            for sizes in self._layers
        )
        return NetworkShape(layers=tuple(layers), vector_parameters=self.vectors)

    def _add(self, name: str, reads: Sequence[str], **sizes: object) -> None:
        self._layers.append({"name": name, **sizes})
        for read in reads:
            self._readers.setdefault(read, []).append(name)


def resnet18() -> NetworkShape:
    """Return ResNet-18 (He et al., arXiv 1512.03385) on 224 x 224 pixels."""
    net = _Layers()
    before = [net.conv("conv1", side=112, inputs=3, outputs=64, kernel=7, stride=2, reads=())]
    width = 64
    for stage, (outputs, side) in enumerate(
        zip((64, 128, 256, 512), (56, 28, 14, 7), strict=True)
    ):
        for block in range(2):
            name, stride = f"layer{stage + 1}.{block}", 2 if stage and not block else 1
            sizes = {"side": side, "outputs": outputs, "kernel": 3}
            first = net.conv(f"{name}.conv1", **sizes, inputs=width, stride=stride, reads=before)
            second = net.conv(f"{name}.conv2", **sizes, inputs=outputs, reads=[first])
            if stride == 2:
                skip = net.conv(
                    f"{name}.downsample",
                    side=side,
                    inputs=width,
                    outputs=outputs,
                    stride=2,
                    reads=before,
                )
                before = [second, skip]
            else:
                before = [*before, second]
            width = outputs
    net.conv("fc", side=1, inputs=512, outputs=1000, vectors=1, reads=before)
    return net.shape()


def segformer_b0() -> NetworkShape:
    """Return SegFormer-B0 (Xie et al., arXiv 2105.15203) for 150 classes on 512 x 512 pixels."""
    net = _Layers()
    before: list[str] = []
    ends: list[str] = []
    channels = 3
    stages = zip((32, 64, 160, 256), (128, 64, 32, 16), (1, 2, 5, 8), (8, 4, 2, 1), strict=True)
    for stage, (width, side, heads, reduction) in enumerate(stages):
        kernel, stride = (3, 2) if stage else (7, 4)
        # a bias, and the scale and shift of the normalisation behind it
        patches = net.conv(
            f"stage{stage}.patches",
            side=side,
            inputs=channels,
            outputs=width,
            kernel=kernel,
            stride=stride,
            vectors=1 + _NORM,
            reads=before,
        )
        before = [patches]
        for block in range(2):
            before = _segformer_block(
                net, f"stage{stage}.{block}", side, width, heads, reduction, before
            )
        net.vectors += _NORM * width
        ends.append(f"head.linear{stage}")
        net.conv(ends[-1], side=side, inputs=width, outputs=256, vectors=1, reads=before)
        channels = width
    fuse = net.conv("head.fuse", side=128, inputs=1024, outputs=256, reads=ends)
    net.conv("head.classifier", side=128, inputs=256, outputs=150, vectors=1, reads=[fuse])
    return net.shape()


def _segformer_block(
    net: _Layers,
    name: str,
    side: int,
    width: int,
    heads: int,
    reduction: int,
    before: list[str],
) -> list[str]:
    positions, kept = side**2, (side // reduction) ** 2
    small = side // reduction
    plain = {"inputs": width, "outputs": width}
    read = before
    query = net.conv(f"{name}.query", side=side, **plain, vectors=1, reads=before)
    if reduction > 1:
        reduced = net.conv(
            f"{name}.reduction",
            side=small,
            **plain,
            kernel=reduction,
            stride=reduction,
            vectors=1 + _NORM,
            reads=before,
        )
        read = [reduced]
    key = net.conv(f"{name}.key", side=small, **plain, vectors=1, reads=read)
    value = net.conv(f"{name}.value", side=small, **plain, vectors=1, reads=read)
    head = width // heads
    scores = net.product(
        f"{name}.scores", m=positions, k=head, n=kept, groups=heads, reads=[query, key]
    )
    contexts = net.product(
        f"{name}.contexts", m=positions, k=kept, n=head, groups=heads, reads=[scores, value]
    )
    after = net.conv(f"{name}.output", side=side, **plain, vectors=1, reads=[contexts])
    wide = 4 * width
    first = net.conv(
        f"{name}.dense1",
        side=side,
        inputs=width,
        outputs=wide,
        vectors=1,
        reads=[*before, after],
    )
    depthwise = net.conv(
        f"{name}.depthwise",
        side=side,
        inputs=wide,
        outputs=wide,
        kernel=3,
        groups=wide,
        vectors=1,
        reads=[first],
    )
    second = net.conv(
        f"{name}.dense2", side=side, inputs=wide, outputs=width, vectors=1, reads=[depthwise]
    )
    net.vectors += 2 * _NORM * width
    return [*before, after, second]


def efficientvit_b1() -> NetworkShape:
    """Return EfficientViT-B1 (Cai et al., arXiv 2205.14756) with the authors' head for the 150
    classes of ADE20K, on 512 x 512 pixels."""
    net = _Layers()
    stem = net.conv("stem.0", side=256, inputs=3, outputs=16, kernel=3, stride=2, reads=())
    deep = net.conv(
        "stem.1.depthwise", side=256, inputs=16, outputs=16, kernel=3, groups=16, reads=[stem]
    )
    point = net.conv("stem.1.point", side=256, inputs=16, outputs=16, reads=[deep])
    before, width, ends = [stem, point], 16, []
    plans = zip((32, 64, 128, 256), (128, 64, 32, 16), (2, 3, 3, 4), strict=True)
    for stage, (outputs, side, depth) in enumerate(plans, start=1):
        attends = stage > 2
        name = f"stage{stage}"
        before = [
            _inverted(net, f"{name}.0", side, width, outputs, before, stride=2, few_norms=attends)
        ]
        for block in range(1, depth + attends):
            inside = f"{name}.{block}"
            if attends:
                before = [*before, _attention(net, f"{inside}.context", side, outputs, before)]
            last = _inverted(
                net, f"{inside}.local", side, outputs, outputs, before, few_norms=attends
            )
            before = [*before, last]
        width = outputs
        if stage > 1:
            ends.append(
                net.conv(f"head.{name}", side=side, inputs=width, outputs=64, reads=before)
            )
    for block in range(3):
        ends = [*ends, _inverted(net, f"head.middle{block}", 64, 64, 64, ends)]
    net.conv("head.classifier", side=64, inputs=64, outputs=150, vectors=1, reads=ends)
    return net.shape()


def _inverted(
    net: _Layers,
    name: str,
    side: int,
    inputs: int,
    outputs: int,
    before: list[str],
    *,
    stride: int = 1,
    few_norms: bool = False,
) -> str:
    """Add an inverted bottleneck; few normalisations leave a bias in their place."""
    wide, inner = 4 * inputs, 1 if few_norms else _NORM
    first = net.conv(
        f"{name}.widening",
        side=side * stride,
        inputs=inputs,
        outputs=wide,
        vectors=inner,
        reads=before,
    )
    deep = net.conv(
        f"{name}.depthwise",
        side=side,
        inputs=wide,
        outputs=wide,
        kernel=3,
        stride=stride,
        groups=wide,
        vectors=inner,
        reads=[first],
    )
    return net.conv(f"{name}.narrowing", side=side, inputs=wide, outputs=outputs, reads=[deep])


def _attention(net: _Layers, name: str, side: int, width: int, before: list[str]) -> str:
    """Add linear attention over two scales, of heads of 16; values carry a column of ones, whose
    product is the normaliser."""
    head, triple, positions = 16, 3 * width, side**2
    heads = width // head
    qkv = net.conv(f"{name}.qkv", side=side, inputs=width, outputs=triple, vectors=0, reads=before)
    sizes = {"side": side, "inputs": triple, "outputs": triple, "vectors": 0}
    deep = net.conv(f"{name}.aggregate0", **sizes, kernel=5, groups=triple, reads=[qkv])
    scale = net.conv(f"{name}.aggregate1", **sizes, groups=3 * heads, reads=[deep])
    reads = [qkv, scale]
    summary = net.product(
        f"{name}.summary", m=head + 1, k=positions, n=head, groups=2 * heads, reads=reads
    )
    contexts = net.product(
        f"{name}.contexts",
        m=positions,
        k=head,
        n=head + 1,
        groups=2 * heads,
        reads=[*reads, summary],
    )
    return net.conv(f"{name}.output", side=side, inputs=2 * width, outputs=width, reads=[contexts])
