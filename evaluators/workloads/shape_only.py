"""Networks without data, to be costed: layer by layer, attention products included."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from dse.design import Layer, NetworkShape, Value
from evaluators.registry import Places
from evaluators.workloads import apsq_shapes, language_shapes, vision_shapes
from evaluators.workloads.params import checked


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeOnly:
    """A workload without network or data: it measures nothing."""

    name: str
    shape: NetworkShape
    params: Mapping[str, object] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    trainable = False
    needs = None
    defaults: Mapping[str, Value] = field(default_factory=dict)
    splits: tuple[str, ...] = ()


class _Params(BaseModel):
    """Parameters.

    Attributes:
        layers: "exact": the network's own, one a product; "apsq": the list that our
            reconstruction of APSQ's energies is tested with, equal products together.
    """

    model_config = ConfigDict(extra="forbid")

    layers: Literal["exact", "apsq"] = "exact"


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid")


_ALLOWED: Final = {"layers": "exact or apsq"}


def bert_base_128(params: Mapping[str, object], places: Places) -> ShapeOnly:
    """Make BERT-Base on 128 tokens."""
    return _either("bert-base-128", params, language_shapes.bert_base, apsq_shapes.BERT_BASE)


def llama2_7b_4096(params: Mapping[str, object], places: Places) -> ShapeOnly:
    """Make LLaMA2-7B on a prompt of 4096 tokens."""
    return _either("llama2-7b-4096", params, language_shapes.llama2_7b, apsq_shapes.LLAMA2_7B)


def segformer_b0_512(params: Mapping[str, object], places: Places) -> ShapeOnly:
    """Make SegFormer-B0 for 150 classes on 512 x 512 pixels."""
    return _either(
        "segformer-b0-512", params, vision_shapes.segformer_b0, apsq_shapes.SEGFORMER_B0
    )


def efficientvit_b1(params: Mapping[str, object], places: Places) -> ShapeOnly:
    """Make EfficientViT-B1 for 150 classes on 512 x 512 pixels."""
    return _either(
        "efficientvit-b1", params, vision_shapes.efficientvit_b1, apsq_shapes.EFFICIENTVIT_B1
    )


def resnet18(params: Mapping[str, object], places: Places) -> ShapeOnly:
    """Make ResNet-18 for 1000 classes on 224 x 224 pixels."""
    checked(_Exact, params, workload="resnet18", allowed={})
    return ShapeOnly(name="resnet18", shape=vision_shapes.resnet18())


def _either(
    name: str,
    params: Mapping[str, object],
    exact: Callable[[], NetworkShape],
    apsq: tuple[Layer, ...],
) -> ShapeOnly:
    told = checked(_Params, params, workload=name, allowed=_ALLOWED)
    shape = exact() if told.layers == "exact" else NetworkShape(layers=apsq)
    return ShapeOnly(name=name, shape=shape, params=told.model_dump())
