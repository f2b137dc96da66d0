"""The layer lists that our reconstruction of APSQ's energies (arXiv 2505.03748) is tested with.

Equal products are one layer with so many groups. Those of the vision networks are approximate:
without patch embeddings and depthwise convolutions, SegFormer's reductions with as many inputs as
they have outputs.
"""

from typing import Final

from dse.design import Layer


def _product(name: str, m: int, inputs: int, n: int, repeats: int, window: int = 1) -> Layer:
    """Return `repeats` products of m positions, `inputs` channels and a window of so many
    elements a channel."""
    return Layer(
        name=name,
        m=m,
        k=inputs * window,
        n=n,
        groups=repeats,
        kernel=round(window**0.5),
        input_elements=m * inputs * repeats,
    )


BERT_BASE: Final = (
    _product("projections", 128, 768, 768, 48),
    _product("widening", 128, 768, 3072, 12),
    _product("narrowing", 128, 3072, 768, 12),
    _product("scores", 128, 64, 128, 144),
    _product("contexts", 128, 128, 64, 144),
)

LLAMA2_7B: Final = (
    _product("projections", 4096, 4096, 4096, 128),
    _product("widening", 4096, 4096, 11008, 64),
    _product("narrowing", 4096, 11008, 4096, 32),
)


def _segformer_stage(stage: int, p: int, c: int, r: int) -> tuple[Layer, ...]:
    reduced = p // r**2
    name = f"stage{stage}"
    layers = (
        _product(f"{name}.projections", p, c, c, 4),
        _product(f"{name}.key_values", reduced, c, 2 * c, 2),
        _product(f"{name}.widening", p, c, 4 * c, 2),
        _product(f"{name}.narrowing", p, 4 * c, c, 2),
        _product(f"{name}.decoding", p, c, 256, 1),
    )
    if r == 1:
        return layers
    return (*layers, _product(f"{name}.reductions", reduced, c, c, 2, r**2))


SEGFORMER_B0: Final = (
    *_segformer_stage(1, 16384, 32, 8),
    *_segformer_stage(2, 4096, 64, 4),
    *_segformer_stage(3, 1024, 160, 2),
    *_segformer_stage(4, 256, 256, 1),
    _product("fusion", 16384, 1024, 256, 1),
    _product("classes", 16384, 256, 150, 1),
)


def _efficientvit_stage(stage: int, p: int, c: int, before: int, d: int) -> tuple[Layer, ...]:
    name = f"stage{stage}"
    layers = (
        _product(f"{name}.entry.widening", 4 * p, before, 4 * before, 1),
        _product(f"{name}.entry.narrowing", p, 4 * before, c, 1),
        _product(f"{name}.widening", p, c, 4 * c, d - 1),
        _product(f"{name}.narrowing", p, 4 * c, c, d - 1),
    )
    if c < 128:
        return layers
    return (
        *layers,
        _product(f"{name}.qkv", p, c, 3 * c, d - 1),
        _product(f"{name}.output", p, 2 * c, c, d - 1),
    )


EFFICIENTVIT_B1: Final = (
    *_efficientvit_stage(1, 16384, 32, 16, 2),
    *_efficientvit_stage(2, 4096, 64, 32, 3),
    *_efficientvit_stage(3, 1024, 128, 64, 3),
    *_efficientvit_stage(4, 256, 256, 128, 4),
)
