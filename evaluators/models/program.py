"""An exported program as a list of nodes, read from its JSON."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import torch
from torch import Tensor
from torch._ops import OpOverload

from dse.errors import SpecError
from evaluators.models.archive import DTYPES, Archive
from evaluators.models.operators import find_operator

SCHEMA: Final = 8
"""Major version of the JSON."""

_BATCH: Final = 'dynamic_shapes={"x": {0: torch.export.Dim("batch")}}'
_FULL_NAME: Final = re.compile(r"\w+(\.\w+)*", re.ASCII)
_TRAINING: Final = ("train", "training", "dropout_p")
_MEMORY_FORMATS: Final = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}


@dataclass(frozen=True, slots=True)
class Ref:
    """A value that an earlier node, the input or a tensor of the network gives."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One call.

    Attributes:
        call: an operator of PyTorch or a function of ours; a text is the path of a module.
        arguments: positional; a Ref, a plain value, or a list of both.
        outputs: names of the results; a tuple inside names the items of a list.
        path: of the module that made the call, "" for the network itself.
        calling: names this call of that module apart from others of the same module.
    """

    call: Callable[..., Any] | str  # Any: an operator's result
    arguments: tuple[object, ...]
    keywords: Mapping[str, object] = field(default_factory=dict)
    outputs: tuple[str | tuple[str, ...], ...]
    path: str = ""
    calling: str = ""

    @property
    def reads(self) -> list[str]:
        """Names of the values it takes, as often as it takes them."""
        given = chain(self.arguments, self.keywords.values())
        flat = chain.from_iterable(v if isinstance(v, list) else [v] for v in given)
        return [value.name for value in flat if isinstance(value, Ref)]

    @property
    def operator(self) -> str:
        """The operator's name without its overload, as "aten::add"; "" for what is none."""
        return str(self.call._schema.name) if isinstance(self.call, OpOverload) else ""

    def bound(self) -> dict[str, object]:
        """Return an operator's arguments by name, in its order, defaults filled in."""
        assert isinstance(self.call, OpOverload)
        schema = self.call._schema.arguments
        given = {argument.name: argument.default_value for argument in schema}
        given |= {a.name: value for a, value in zip(schema, self.arguments, strict=False)}
        return given | dict(self.keywords)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A network as it was exported.

    Attributes:
        x: name of the input.
        dtype: of the input.
        sizes: of the input without its batch dimension; None where any will do.
        outputs: names of the results.
        tensors: parameters, buffers and constants by their full names.
        held: name of a value -> full name of the tensor it is.
        ranks: numbers of dimensions of values, as far as told.
    """

    x: str
    dtype: torch.dtype
    sizes: tuple[int | None, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    held: Mapping[str, str]
    ranks: Mapping[str, int]


def read_program(archive: Archive, told: str) -> Program:
    """Check an archive's program and return it.

    Args:
        told: the file's name, for messages.

    Raises:
        SpecError: unsupported operators, more than one input, a static batch, or no program.
    """
    try:
        return _read(archive, told)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{told} is not what torch.export.save writes ({error!r})") from error


def _read(archive: Archive, told: str) -> Program:
    version = archive.program["schema_version"]["major"]
    if version != SCHEMA:
        raise SpecError(
            f"{told} has schema version {version}, allowed: {SCHEMA}: "
            f"export it again with torch {torch.__version__}"
        )
    module = archive.program["graph_module"]
    graph, signature = module["graph"], module["signature"]
    x, held = _inputs(signature["input_specs"], archive.tensors, told)
    meta = graph["tensor_values"][x]
    sizes = tuple(size.get("as_int") for size in meta["sizes"])
    if not sizes or sizes[0] is not None:
        raise SpecError(
            f"{told}: the first dimension of input {x!r} is static, {sizes[:1]}; "
            f"allowed: any batch size: torch.export.export(model, (x,), {_BATCH})"
        )
    if meta["dtype"] not in DTYPES:
        raise SpecError(f"{told}: input {x!r} has dtype {meta['dtype']}")
    _check_operators(graph["nodes"], told)
    nodes = tuple(_node(node, told) for node in graph["nodes"])
    outputs = _outputs(signature["output_specs"], told)
    _check_flow({x, *held}, nodes, outputs)
    return Program(
        x=x,
        dtype=DTYPES[meta["dtype"]],
        sizes=sizes[1:],
        nodes=nodes,
        outputs=outputs,
        tensors=archive.tensors,
        held=held,
        ranks={name: len(value["sizes"]) for name, value in graph["tensor_values"].items()},
    )


def _inputs(
    specs: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor], told: str
) -> tuple[str, dict[str, str]]:
    given: list[str] = []
    held: dict[str, str] = {}
    names = {
        "parameter": "parameter_name",
        "buffer": "buffer_name",
        "tensor_constant": "tensor_constant_name",
    }
    for spec in specs:
        ((kind, said),) = spec.items()
        if kind in names:
            held[_text(said["arg"]["name"])] = _full_name(said[names[kind]], tensors, told)
        elif kind == "user_input" and "as_tensor" in said["arg"]:
            given.append(_text(said["arg"]["as_tensor"]["name"]))
        else:
            raise SpecError(f"{told}: input of kind {kind} is not supported; allowed: one tensor")
    if len(given) != 1:
        raise SpecError(f"{told} takes {len(given)} inputs {given}; allowed: one tensor x")
    return given[0], held


def _full_name(name: object, tensors: Mapping[str, Tensor], told: str) -> str:
    if not isinstance(name, str) or not _FULL_NAME.fullmatch(name):
        raise SpecError(f"{told}: tensor {name!r} has no name that a module can have")
    if name not in tensors:
        raise SpecError(f"{told}: tensor {name!r} is missing")
    return name


def _outputs(specs: Sequence[Mapping[str, Any]], told: str) -> tuple[str, ...]:
    names = []
    for spec in specs:
        ((kind, said),) = spec.items()
        if kind.endswith("mutation"):
            raise SpecError(
                f"{told} changes {said['arg'].get('name')!r} when it runs; "
                "allowed: a network in evaluation mode: export model.eval()"
            )
        if kind != "user_output" or "as_tensor" not in said["arg"]:
            raise SpecError(f"{told}: output of kind {kind} is not supported; allowed: tensors")
        names.append(_text(said["arg"]["as_tensor"]["name"]))
    if not names:
        raise SpecError(f"{told} returns no tensor")
    return tuple(names)


def _check_operators(nodes: Sequence[Mapping[str, Any]], told: str) -> None:
    targets = dict.fromkeys(str(node["target"]) for node in nodes)
    wrong = [repr(target)[:80] for target in targets if find_operator(target) is None]
    if wrong:
        raise SpecError(
            f"{told} has unsupported operators: {', '.join(wrong[:8])}; "
            "allowed: deterministic operators of torch.ops.aten"
        )


def _check_flow(known: set[str], nodes: Sequence[Node], outputs: Sequence[str]) -> None:
    """Raise KeyError where something is read before it is there."""
    for node in nodes:
        for name in node.reads:
            if name not in known:
                raise KeyError(name)
        for output in node.outputs:
            known.update([output] if isinstance(output, str) else output)
    for name in outputs:
        if name not in known:
            raise KeyError(name)


def _node(said: Mapping[str, Any], told: str) -> Node:
    call = find_operator(said["target"])
    assert call is not None
    arguments, keywords = [], {}
    for given in said["inputs"]:
        value = _value(given["arg"], told)
        if given["name"] in _TRAINING and value:
            raise SpecError(
                f"{told}: {said['target']} is in training mode; "
                "allowed: a network in evaluation mode: export model.eval()"
            )
        if given.get("kind") == 2:
            keywords[_text(given["name"])] = value
        else:
            arguments.append(value)
    path, calling = _caller(said.get("metadata", {}).get("nn_module_stack", ""))
    return Node(
        call=call,
        arguments=tuple(arguments),
        keywords=keywords,
        outputs=tuple(_output(output) for output in said["outputs"]),
        path=path,
        calling=calling,
    )


def _caller(stack: str) -> tuple[str, str]:
    """Read "key,path,type;…", outermost first; a repeated call's key ends in "@1", …"""
    fields = [item.split(",") for item in stack.split(";")]
    path = fields[-1][1] if len(fields[-1]) >= 3 else ""
    if not _FULL_NAME.fullmatch(path):
        path = ""
    return path, ";".join(item[0] for item in fields)


def _output(said: Mapping[str, Any]) -> str | tuple[str, ...]:
    ((kind, value),) = said.items()
    match kind:
        case "as_tensor":
            return _text(value["name"])
        case "as_tensors":
            return tuple(_text(item["name"]) for item in value)
        case "as_sym_int" | "as_sym_bool" | "as_sym_float":
            return _text(value["as_name"])
        case "as_none" | "as_int" | "as_bool" | "as_float":
            return ""
    raise ValueError(f"output {kind}")


def _value(said: Mapping[str, Any], told: str) -> object:
    ((kind, value),) = said.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return Ref(_text(value["name"]))
        case "as_tensors":
            return [Ref(_text(item["name"])) for item in value]
        case "as_optional_tensor":
            return _value(value, told)
        case "as_optional_tensors":
            return [_value(item, told) for item in value]
        case "as_int" | "as_bool" | "as_string":
            return _plain(value, int | str)
        case "as_float":
            return float(value)  # "Infinity" and "NaN" are texts in the JSON
        case "as_ints" | "as_bools":
            return [_plain(item, int) for item in value]
        case "as_floats":
            return [float(item) for item in value]
        case "as_sym_int" | "as_sym_bool" | "as_sym_float":
            return _number(value)
        case "as_sym_ints" | "as_sym_bools" | "as_sym_floats":
            return [_number(item) for item in value]
        case "as_scalar_type":
            return DTYPES[value]
        case "as_memory_format":
            return _MEMORY_FORMATS[value]
        case "as_layout" if value == 7:
            return torch.strided
        case "as_device" if value["type"] == "cpu":
            return torch.device("cpu")
        case "as_device":
            raise SpecError(f"{told} was exported on {value['type']!r}; allowed: the CPU")
    raise SpecError(f"{told}: an operator takes {kind}, which is not supported")


def _number(said: Mapping[str, Any]) -> object:
    ((kind, value),) = said.items()
    return Ref(_text(value)) if kind == "as_name" else _plain(value, int | float)


def _plain(value: object, kinds: Any) -> object:  # a type or a union of types
    if not isinstance(value, kinds):
        raise TypeError(f"{value!r:.40} is not what it says to be")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no name")
    return value
