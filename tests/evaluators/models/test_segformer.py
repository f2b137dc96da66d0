import pytest
import torch

from evaluators.models.segformer import STAGES, EfficientAttention, SegFormer, StageSize
from evaluators.models.tracing import trace


def test_every_product_is_a_layer_and_none_stays_in_float() -> None:
    traced = trace(SegFormer(), (torch.zeros(1, 1, 64, 64),))

    assert traced.floats == ()
    names = traced.shape.names
    assert len(names) == len(set(names))
    by_name = {layer.name: layer for layer in traced.shape.layers}
    assert by_name["stages.0.blocks.0.feed.depthwise"].groups == 64
    assert by_name["classify"].m == 16 * 16
    # queries of 16 x 16 tokens, keys of 4 x 4
    qk = by_name["stages.0.blocks.0.attention.attention.sdpa.qk"]
    assert (qk.m, qk.n) == (256, 16)


def test_scores_have_the_resolution_of_the_picture() -> None:
    model = SegFormer().eval()

    assert model(torch.zeros(2, 1, 64, 64)).shape == (2, 11, 64, 64)


@pytest.mark.parametrize(
    ("stage", "side"), [(STAGES[0], 16), (STAGES[1], 8)], ids=["first", "second"]
)
def test_keys_and_values_are_of_16_tokens(stage: StageSize, side: int) -> None:
    attention = EfficientAttention(stage)
    seen: list[torch.Size] = []
    attention.attention.k.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))

    found = attention(torch.zeros(2, side * side, stage.width), side)

    assert found.shape == (2, side * side, stage.width)
    assert seen == [torch.Size((2, 16, stage.width))]


def test_head_tells_rows_from_columns() -> None:
    torch.manual_seed(0)
    model = SegFormer().eval()
    picture = torch.zeros(1, 1, 64, 64)
    picture[..., :, 8:12] = 1.0

    with torch.no_grad():
        upright = model(picture)
        lying = model(picture.transpose(2, 3))
    change = (upright - upright.mean(dim=(2, 3), keepdim=True)).abs()

    # a bar changes scores near it most, along the axis it lies on
    assert float(change[..., 8:12].mean()) > float(change[..., 40:].mean())
    assert not torch.allclose(upright, lying)
