"""Layers of transformers for language. Names are those of the Hugging Face models."""

from dataclasses import dataclass

from dse.design import Layer, NetworkShape


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attention:
    """One self-attention: its projections q, k and v, and what reads its contexts."""

    tokens: int
    width: int
    heads: int

    def products(self, name: str, *, reader: str, reads: tuple[str, str, str]) -> list[Layer]:
        """Return scores and contexts.

        Args:
            reads: names of the projections, which tell the products where they belong.
        """
        head = self.width // self.heads
        scores, contexts = f"{name}.scores", f"{name}.contexts"
        query, key, value = reads
        whole = self.width
        return [
            Layer(name=query, m=self.tokens, k=whole, n=whole, consumers=(scores,)),
            Layer(name=key, m=self.tokens, k=whole, n=whole, consumers=(scores,)),
            Layer(name=value, m=self.tokens, k=whole, n=whole, consumers=(contexts,)),
            Layer(
                name=scores,
                m=self.tokens,
                k=head,
                n=self.tokens,
                groups=self.heads,
                dynamic=True,
                consumers=(contexts,),
            ),
            Layer(
                name=contexts,
                m=self.tokens,
                k=self.tokens,
                n=head,
                groups=self.heads,
                dynamic=True,
                consumers=(reader,),
            ),
        ]


def bert_base() -> NetworkShape:
    """Return BERT-Base (Devlin et al., arXiv 1810.04805) on 128 tokens: 12 blocks and the pooler,
    embeddings left out."""
    tokens, width, inner, blocks = 128, 768, 3072, 12
    attention = _Attention(tokens=tokens, width=width, heads=12)
    layers: list[Layer] = []
    for i in range(blocks):
        name, following = f"layer.{i}", f"layer.{i + 1}"
        readers: tuple[str, ...] = ("pooler",)
        if i + 1 < blocks:
            readers = tuple(f"{following}.attention.self.{p}" for p in ("query", "key", "value"))
        inside = f"{name}.attention.self"
        after, wide, narrow = (
            f"{name}.{part}" for part in ("attention.output", "intermediate", "output")
        )
        layers += attention.products(
            inside, reader=after, reads=(f"{inside}.query", f"{inside}.key", f"{inside}.value")
        )
        layers += [
            Layer(name=after, m=tokens, k=width, n=width, consumers=(wide,)),
            Layer(name=wide, m=tokens, k=width, n=inner, consumers=(narrow,)),
            Layer(name=narrow, m=tokens, k=inner, n=width, consumers=readers),
        ]
    layers.append(Layer(name="pooler", k=width, n=width))
    # biases, and the scale and shift of two normalisations a block and of the embeddings' one
    vectors = blocks * (5 * width + inner + 4 * width) + 2 * width + width
    return NetworkShape(layers=tuple(layers), vector_parameters=vectors)


def llama2_7b() -> NetworkShape:
    """Return LLaMA2-7B (Touvron et al., arXiv 2307.09288) on a prompt of 4096 tokens, embeddings
    left out; scores are counted whole, though half of them are masked."""
    tokens, width, inner, blocks, vocabulary = 4096, 4096, 11008, 32, 32000
    attention = _Attention(tokens=tokens, width=width, heads=32)
    layers: list[Layer] = []
    for i in range(blocks):
        name = f"layers.{i}"
        readers: tuple[str, ...] = ("lm_head",)
        if i + 1 < blocks:
            readers = tuple(f"layers.{i + 1}.self_attn.{p}_proj" for p in "qkv")
        inside, gate, up, down = (
            f"{name}.{part}"
            for part in ("self_attn", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
        )
        after = f"{inside}.o_proj"
        query, key, value = (f"{inside}.{p}_proj" for p in "qkv")
        layers += attention.products(inside, reader=after, reads=(query, key, value))
        layers += [
            Layer(name=after, m=tokens, k=width, n=width, consumers=(gate, up)),
            Layer(name=gate, m=tokens, k=width, n=inner, consumers=(down,)),
            Layer(name=up, m=tokens, k=width, n=inner, consumers=(down,)),
            Layer(name=down, m=tokens, k=inner, n=width, consumers=readers),
        ]
    layers.append(Layer(name="lm_head", m=tokens, k=width, n=vocabulary))
    vectors = (2 * blocks + 1) * width
    return NetworkShape(layers=tuple(layers), vector_parameters=vectors)
