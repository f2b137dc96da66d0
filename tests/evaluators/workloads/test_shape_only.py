"""Sizes of the networks that are only costed, against what is known of them."""

from pathlib import Path

import pytest

from dse.design import NetworkShape
from dse.errors import SpecError
from evaluators.registry import Places, make_workload
from evaluators.workloads import apsq_shapes

NAMES = ("bert-base-128", "llama2-7b-4096", "segformer-b0-512", "efficientvit-b1", "resnet18")
PLACES = Places(home=Path("nowhere"))


def shape(name: str, **params: object) -> NetworkShape:
    return make_workload(name, params, PLACES).shape


def test_parameters_are_those_of_the_published_networks() -> None:
    # torchvision, and the Hugging Face models less what is no layer: 133,136,384 embeddings and
    # their norm are none of LLaMA2-7B's 6,738,415,616, 23,837,184 none of BERT's 109,482,240
    parameters = {
        name: found.weights + found.vector_parameters for name in NAMES for found in [shape(name)]
    }

    assert parameters["resnet18"] == 11_689_512
    assert parameters["segformer-b0-512"] == 3_752_694
    assert parameters["llama2-7b-4096"] == 6_738_415_616 - 32_000 * 4096
    assert parameters["bert-base-128"] == 109_482_240 - (30_522 + 512 + 2) * 768
    assert parameters["efficientvit-b1"] == pytest.approx(4.8e6, rel=0.01)


def test_products_are_as_many_as_published() -> None:
    assert shape("resnet18").macs == 1_814_073_344
    # authors' figures: 8.4 and 3.1 G
    assert shape("segformer-b0-512").macs == pytest.approx(8.4e9, rel=0.01)
    assert shape("efficientvit-b1").macs == pytest.approx(3.1e9, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_every_output_but_the_last_is_read_by_a_later_layer(name: str) -> None:
    found = shape(name)
    place = {layer: i for i, layer in enumerate(found.names)}

    assert len(place) == len(found.layers)
    for i, layer in enumerate(found.layers[:-1]):
        assert layer.consumers
        assert all(place[reader] > i for reader in layer.consumers)
    assert found.layers[-1].consumers == ()


@pytest.mark.parametrize("name", NAMES[:4])
def test_attention_has_products_of_two_activations(name: str) -> None:
    dynamic = [layer for layer in shape(name).layers if layer.dynamic]

    counts = {"bert-base-128": 24, "llama2-7b-4096": 64, "segformer-b0-512": 16}
    assert len(dynamic) == counts.get(name, 14)


def test_lists_of_the_reconstruction_have_the_sizes_of_its_sheet() -> None:
    bert = [(x.m, x.k, x.n, x.groups) for x in apsq_shapes.BERT_BASE]
    first = [(x.m, x.k, x.n, x.groups, x.kernel) for x in apsq_shapes.SEGFORMER_B0[:6]]

    assert bert[1:4] == [(128, 768, 3072, 12), (128, 3072, 768, 12), (128, 64, 128, 144)]
    assert first == [
        (16384, 32, 32, 4, 1),
        (256, 32, 64, 2, 1),
        (16384, 32, 128, 2, 1),
        (16384, 128, 32, 2, 1),
        (16384, 32, 256, 1, 1),
        (256, 2048, 32, 2, 8),
    ]


def test_other_parameters_are_refused() -> None:
    with pytest.raises(SpecError, match="layers must be exact or apsq, got 'all'"):
        make_workload("bert-base-128", {"layers": "all"}, PLACES)
    with pytest.raises(SpecError, match="takes no parameter 'layers'"):
        make_workload("resnet18", {"layers": "exact"}, PLACES)
