import pytest
import torch
from torch import Tensor, nn

from evaluators.models.sru import Dropout, SruTagger, scan, shape


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tagger(seed: int = 0) -> SruTagger:
    return SruTagger(inputs=80, classes=40, generator=generator(seed))


def scan_inputs(time: int, batch: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    random = generator()
    sizes = [(time, batch, 3 * width), (time, batch, width), (2, width), (2, width)]
    return [torch.randn(*size, generator=random, dtype=dtype).requires_grad_() for size in sizes]


def one_direction(updates: Tensor, highway: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The recurrence as its equations stand, for one direction in time."""
    state = torch.zeros_like(highway[0])
    out = []
    for u, u_h in zip(updates, highway, strict=True):
        u_x, u_f, u_r = u.chunk(3, dim=-1)
        forget = torch.sigmoid(u_f + weight[0] * state + bias[0])
        reset = torch.sigmoid(u_r + weight[1] * state + bias[1])
        state = forget * state + (1 - forget) * u_x
        out.append(reset * state + (1 - reset) * u_h)
    return torch.stack(out)


def naive(updates: Tensor, highway: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    half = highway.shape[-1] // 2
    parts = updates.chunk(3, dim=-1)
    ahead = one_direction(
        torch.cat([part[..., :half] for part in parts], dim=-1),
        highway[..., :half],
        weight[:, :half],
        bias[:, :half],
    )
    back = one_direction(
        torch.cat([part[..., half:] for part in parts], dim=-1).flip(0),
        highway[..., half:].flip(0),
        weight[:, half:],
        bias[:, half:],
    )
    return torch.cat([ahead, back.flip(0)], dim=-1)


@pytest.mark.parametrize("time", [1, 2, 7])
def test_scan_is_the_recurrence_of_its_equations(time: int) -> None:
    inputs = scan_inputs(time, 3, 8, torch.float64)

    torch.testing.assert_close(scan(*inputs), naive(*inputs))


@pytest.mark.parametrize("time", [1, 2, 7])
def test_gradient_of_scan_is_that_of_autograd(time: int) -> None:
    inputs = scan_inputs(time, 3, 8, torch.float64)
    weights = torch.randn(time, 3, 8, generator=generator(1), dtype=torch.float64)

    ours = torch.autograd.grad((scan(*inputs) * weights).sum(), inputs)
    autograd = torch.autograd.grad((naive(*inputs) * weights).sum(), inputs)

    for one, other in zip(ours, autograd, strict=True):
        torch.testing.assert_close(one, other)


def test_gradient_of_scan_is_the_numerical_one() -> None:
    assert torch.autograd.gradcheck(scan, scan_inputs(4, 2, 4, torch.float64))


def test_scan_changes_none_of_its_inputs() -> None:
    inputs = scan_inputs(5, 2, 4, torch.float32)
    before = [value.detach().clone() for value in inputs]

    torch.autograd.grad(scan(*inputs).sum(), inputs)

    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))


def test_shape_is_the_eight_products_in_order() -> None:
    network = shape(80, 40)

    assert [(layer.name, layer.k, layer.n) for layer in network.layers] == [
        ("L0", 80, 1024),
        ("P1", 256, 96),
        ("L1", 96, 768),
        ("P2", 256, 96),
        ("L2", 96, 768),
        ("P3", 256, 96),
        ("L3", 96, 768),
        ("FC", 256, 40),
    ]
    assert [layer.consumers for layer in network.layers] == [
        *((name,) for name in ("P1", "L1", "P2", "L2", "P3", "L3", "FC")),
        (),
    ]
    assert all(layer.m == 1 and layer.input_elements == layer.k for layer in network.layers)
    assert network.macs == network.weights == 387_072


def test_shape_counts_every_parameter_of_the_model() -> None:
    network = shape(80, 40)

    assert network.vector_parameters == 4136
    assert sum(p.numel() for p in tagger().parameters()) == 387_072 + 4136
    # 16 operations for each of 4 x 256 units.
    assert network.elementwise_operations == 16_384


def test_sizes_may_be_others() -> None:
    network = shape(80, 11, hidden=96, projected=64)
    model = SruTagger(inputs=80, classes=11, hidden=96, projected=64, generator=generator())

    assert [(layer.name, layer.k, layer.n) for layer in network.layers] == [
        ("L0", 80, 768),
        ("P1", 192, 64),
        ("L1", 64, 576),
        ("P2", 192, 64),
        ("L2", 64, 576),
        ("P3", 192, 64),
        ("L3", 64, 576),
        ("FC", 192, 11),
    ]
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == network.weights + network.vector_parameters
    assert model(torch.ones(2, 5, 80)).shape == (2, 5, 11)


def test_products_are_linear_modules_of_the_shape() -> None:
    model = tagger()

    for layer in shape(80, 40).layers:
        product = model.get_submodule(layer.name)
        assert isinstance(product, nn.Linear)
        assert (product.in_features, product.out_features) == (layer.k, layer.n)
        assert (product.bias is None) == (layer.name != "FC")


def test_padding_changes_no_score_of_a_shorter_utterance() -> None:
    model = tagger().double().eval()
    features = torch.randn(1, 9, 80, generator=generator(1), dtype=torch.float64)
    padded = torch.cat([features, torch.zeros(1, 5, 80, dtype=torch.float64)], dim=1)

    with torch.inference_mode():
        torch.testing.assert_close(model(padded)[:, :9], model(features))


def test_every_frame_sees_the_whole_utterance() -> None:
    model = tagger().eval()
    features = torch.randn(1, 6, 80, generator=generator(1), requires_grad=True)

    scores = model(features)
    first_to_last = torch.autograd.grad(scores[0, 0].sum(), features, retain_graph=True)[0][0, 5]
    last_to_first = torch.autograd.grad(scores[0, 5].sum(), features)[0][0, 0]

    assert scores.shape == (1, 6, 40)
    assert first_to_last.any()
    assert last_to_first.any()


def test_initial_weights_follow_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = tagger().state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)

    assert all(torch.equal(first[name], value) for name, value in tagger().state_dict().items())
    assert not torch.equal(first["L0.weight"], tagger(seed=1).state_dict()["L0.weight"])


def test_dropout_keeps_the_mean_and_masks_whole_sequences() -> None:
    hidden = torch.ones(6, 400, 50)

    noisy = Dropout(rate=0.25, generator=generator())(hidden)

    assert sorted(set(noisy.flatten().tolist())) == pytest.approx([0, 1 / 0.75])
    assert noisy.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(noisy[0], noisy[5])
