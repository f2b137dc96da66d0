import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.models.attention import ScaledDotProduct, SeparateAttention, separate_attention
from tests.evaluators.models.networks import noise


def separated(attention: nn.MultiheadAttention) -> SeparateAttention:
    holder = nn.Sequential(copy.deepcopy(attention))
    separate_attention(holder)
    found = holder[0]
    assert isinstance(found, SeparateAttention)
    return found


def assert_same(one: nn.Module, other: nn.Module, *given: Tensor, **more: Any) -> None:
    with torch.no_grad():
        expected, got = one(*given, **more), other(*given, **more)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


CAUSAL = torch.ones(5, 5, dtype=torch.bool).triu(1)
PADDED = torch.tensor([[False, False, False, True, True], [False] * 4 + [True]])
MASKS: list[dict[str, Any]] = [
    {},
    {"need_weights": False},
    {"average_attn_weights": False},
    {"attn_mask": CAUSAL},
    {"attn_mask": CAUSAL, "is_causal": True, "need_weights": False},
    {"attn_mask": noise(5, 5)},
    {"attn_mask": noise(4, 5, 5)},
    {"key_padding_mask": PADDED},
    {"key_padding_mask": PADDED, "attn_mask": CAUSAL, "need_weights": False},
    {"key_padding_mask": noise(2, 5), "attn_mask": noise(4, 5, 5)},
]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("given", MASKS)
def test_separate_attention_gives_what_torch_gives(
    batch_first: bool, given: dict[str, Any]
) -> None:
    attention = nn.MultiheadAttention(6, 2, batch_first=batch_first).eval()
    nn.init.normal_(attention.in_proj_bias)
    x = noise(2, 5, 6) if batch_first else noise(5, 2, 6)

    assert_same(attention, separated(attention), x, x, x, **given)


def test_separate_attention_takes_keys_and_values_of_other_sizes() -> None:
    attention = nn.MultiheadAttention(6, 3, bias=False, kdim=4, vdim=5, batch_first=True).eval()

    assert_same(attention, separated(attention), noise(2, 7, 6), noise(2, 5, 4), noise(2, 5, 5))


def test_separate_attention_takes_one_unbatched_sequence() -> None:
    attention = nn.MultiheadAttention(6, 2).eval()
    x = noise(5, 6)

    assert_same(attention, separated(attention), x, x, x, key_padding_mask=PADDED[0])


def test_separate_attention_refuses_what_it_cannot_tell_apart() -> None:
    attention = separated(nn.MultiheadAttention(6, 2))
    x = noise(5, 1, 6)

    with pytest.raises(ValueError, match="attn_mask must be given with is_causal, got None"):
        attention(x, x, x, is_causal=True)


def test_attention_of_two_names_stays_one_module() -> None:
    shared = nn.MultiheadAttention(6, 2)
    model = nn.ModuleDict({"a": shared, "b": nn.ModuleList([shared])})

    separate_attention(model)

    assert isinstance(model["a"], SeparateAttention)
    assert model["a"] is model.get_submodule("b.0")


@pytest.mark.parametrize("more", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_attention_with_more_keys_than_given_is_left_alone(more: dict[str, bool]) -> None:
    model = nn.Sequential(nn.MultiheadAttention(6, 2, **more))

    separate_attention(model)

    assert type(model[0]) is nn.MultiheadAttention


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("norm_first", [True, False])
def test_encoder_layers_never_bypass_the_modules(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, norm_first=norm_first).eval()
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first).eval()
    other = copy.deepcopy(encoder)
    separate_attention(other)
    met: list[nn.Module] = []
    for part in other.modules():
        part.register_forward_hook(lambda module, given, out: met.append(module))
    x = noise(2, 5, 6)

    with torch.no_grad():
        expected = encoder(x, src_key_padding_mask=PADDED)
        got = other(x, src_key_padding_mask=PADDED)

    # Of padding, packed kernels say 0; nobody reads it.
    torch.testing.assert_close(got[~PADDED], expected[~PADDED], rtol=0, atol=1e-5)
    assert {id(module) for module in met} >= {
        id(part) for part in other.modules() if not list(part.children())
    }


def test_decoder_layers_give_the_same() -> None:
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8), 2).eval()
    other = copy.deepcopy(decoder)
    separate_attention(other)

    mask = nn.Transformer.generate_square_subsequent_mask(5)
    assert_same(decoder, other, noise(5, 2, 6), noise(7, 2, 6), tgt_mask=mask, tgt_is_causal=True)


def test_separate_attention_learns_as_torch_does() -> None:
    attention = nn.MultiheadAttention(6, 2, batch_first=True)
    other = separated(attention)
    x = noise(2, 5, 6)

    attention(x, x, x)[0].square().sum().backward()
    other(x, x, x)[0].square().sum().backward()

    packed = torch.cat(
        [part.weight.grad for part in (other.q_proj, other.k_proj, other.v_proj)]  # type: ignore[misc]
    )
    torch.testing.assert_close(packed, attention.in_proj_weight.grad)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": noise(5, 7)},
        {"attn_mask": noise(2, 1, 5, 7) > 0},
        {"attn_mask": torch.zeros(5, 7, dtype=torch.bool)},
    ],
)
def test_scaled_dot_product_gives_what_torch_gives(given: dict[str, Any]) -> None:
    q, k, v = noise(2, 4, 5, 6), noise(2, 4, 7, 6, seed=1), noise(2, 4, 7, 3, seed=2)

    expected = functional.scaled_dot_product_attention(q, k, v, **given)

    torch.testing.assert_close(ScaledDotProduct()(q, k, v, **given), expected, rtol=0, atol=1e-5)


def test_scaled_dot_product_shares_keys_between_heads() -> None:
    q, k, v = noise(2, 4, 5, 6), noise(2, 2, 7, 6, seed=1), noise(2, 2, 7, 6, seed=2)

    expected = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    got = ScaledDotProduct()(q, k, v, enable_gqa=True)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_scaled_dot_product_takes_a_mask_or_is_causal() -> None:
    q = noise(1, 5, 6)

    with pytest.raises(ValueError, match="attn_mask must be None with is_causal"):
        ScaledDotProduct()(q, q, q, attn_mask=CAUSAL, is_causal=True)


def test_gradients_are_finite_where_a_query_may_look_at_nothing() -> None:
    query = noise(1, 2, 5, 4).requires_grad_()
    nowhere = torch.zeros(5, 5, dtype=torch.bool)
    nowhere[1:] = True

    found = ScaledDotProduct()(query, noise(1, 2, 5, 4), noise(1, 2, 5, 4), attn_mask=nowhere)
    torch.autograd.backward(found.sum())

    assert query.grad is not None
    assert torch.isfinite(query.grad).all()
    assert not found[..., 0, :].any()
