import torch
from torch.nn.functional import scaled_dot_product_attention

from evaluators.arithmetic.matmul import MatMul
from evaluators.models.tracing import trace
from evaluators.models.vit import Attention, VisionTransformer


def test_every_product_is_a_layer_and_none_stays_in_float() -> None:
    traced = trace(VisionTransformer(), (torch.zeros(1, 1, 28, 28),))

    assert traced.floats == ()
    assert len(traced.shape.layers) == 1 + 3 * 8 + 1
    dynamic = [layer.name for layer in traced.shape.layers if layer.dynamic]
    assert dynamic == [f"blocks.b{i}.attention.sdpa.{op}" for i in range(3) for op in ("qk", "av")]
    assert all(isinstance(traced.model.get_submodule(name), MatMul) for name in dynamic)


def test_attention_is_scaled_dot_product_attention_of_its_projections() -> None:
    torch.manual_seed(0)
    attention = Attention(8, heads=2)
    tokens, context = torch.randn(3, 5, 8), torch.randn(3, 7, 8)

    found = attention(tokens, context)

    q, k, v = (
        part.reshape(3, -1, 2, 4).transpose(1, 2)
        for part in (attention.q(tokens), attention.k(context), attention.v(context))
    )
    heads = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(3, 5, 8)
    torch.testing.assert_close(found, attention.out(heads))


def test_places_of_patches_matter() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(depth=1).eval()
    picture = torch.zeros(1, 1, 28, 28)
    picture[..., :4, :4] = 1.0

    with torch.no_grad():
        assert not torch.allclose(model(picture), model(picture.roll(4, dims=-1)))
