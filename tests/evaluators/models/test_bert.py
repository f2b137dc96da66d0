import pytest
import torch
from torch import Tensor, nn

from evaluators.arithmetic.matmul import MatMul
from evaluators.models.bert import Bert, BertSizes
from evaluators.models.tracing import trace

SIZES = BertSizes(vocabulary=50, positions=16, layers=2, hidden=24, heads=3, inner=40)
SENTENCES = [[7, 3, 9, 4], [1], [5, 6, 2, 49, 8, 30, 11], [12, 12, 12]]


def filled(*, attention: bool = False) -> Bert:
    model = Bert(SIZES, attention=attention).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return model


def padded(sentences: list[list[int]], length: int = 0) -> Tensor:
    length = max(length, *map(len, sentences))
    return torch.tensor([one + [0] * (length - len(one)) for one in sentences])


def torch_layer(model: Bert, number: int) -> nn.TransformerEncoderLayer:
    """The same layer by torch."""
    ours = model.encoder.layer[number].state_dict()
    layer = nn.TransformerEncoderLayer(
        *(SIZES.hidden, SIZES.heads, SIZES.inner),
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-12,
        batch_first=True,
    )
    own = {
        "self_attn.out_proj": "attention.output.dense",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm1": "attention.output.LayerNorm",
        "norm2": "output.LayerNorm",
    }
    state = {f"{a}.{kind}": ours[f"{b}.{kind}"] for a, b in own.items() for kind in KINDS}
    for kind in KINDS:
        parts = [ours[f"attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
        state[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
    layer.load_state_dict(state)
    return layer.eval()


KINDS = ("weight", "bias")


@pytest.mark.parametrize("attention", [False, True])
def test_a_sentence_gets_what_torch_makes_of_it(attention: bool) -> None:
    model = filled(attention=attention)
    tokens = padded(SENTENCES[2:3])
    tables = model.embeddings

    with torch.no_grad():
        values = (
            tables.word_embeddings(tokens)
            + tables.position_embeddings(torch.arange(tokens.shape[1]))
            + tables.token_type_embeddings(torch.zeros_like(tokens))
        )
        values = tables.LayerNorm(values)
        for number in range(SIZES.layers):
            values = torch_layer(model, number)(values)
        mean = values.mean(1)
        found = model(tokens)

    torch.testing.assert_close(found, mean / mean.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("attention", [False, True])
def test_padding_changes_nothing(attention: bool) -> None:
    model = filled(attention=attention)

    with torch.no_grad():
        together = model(padded(SENTENCES, length=13))
        alone = torch.cat([model(torch.tensor([one])) for one in SENTENCES])

    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(SENTENCES)))


def test_linears_see_tokens_alone() -> None:
    model = filled()
    seen: list[torch.Size] = []
    model.get_submodule("encoder.layer.1.intermediate.dense").register_forward_pre_hook(
        lambda module, given: seen.append(given[0].shape)
    )

    with torch.no_grad():
        model(padded(SENTENCES, length=13))

    assert seen == [(sum(map(len, SENTENCES)), SIZES.hidden)]


def test_layers_are_the_linears_by_their_published_names() -> None:
    traced = trace(filled(), (torch.ones(1, 5, dtype=torch.int64),))

    assert traced.shape.names == tuple(
        f"encoder.layer.{number}.{part}"
        for number in range(2)
        for part in (
            *(f"attention.self.{one}" for one in ("query", "key", "value")),
            *("attention.output.dense", "intermediate.dense", "output.dense"),
        )
    )
    assert traced.floats == tuple(
        f"encoder.layer.{number}.attention.self: matmul" for number in range(2)
    )


def test_products_of_attention_are_layers_when_asked_for() -> None:
    model = filled(attention=True)
    shape = trace(model, (torch.ones(1, 5, dtype=torch.int64),)).shape

    layers = {layer.name: layer for layer in shape.layers}
    qk = layers["encoder.layer.1.attention.self.qk"]
    av = layers["encoder.layer.1.attention.self.av"]
    assert (qk.m, qk.k, qk.n, qk.groups, qk.dynamic) == (5, 8, 5, 3, True)
    assert (av.m, av.k, av.n, av.groups, av.dynamic) == (5, 5, 8, 3, True)
    assert len(layers) == 2 * 8
    assert isinstance(model.get_submodule(qk.name), MatMul)


def test_making_one_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()

    Bert(SIZES, attention=True)

    assert torch.equal(torch.get_rng_state(), before)
