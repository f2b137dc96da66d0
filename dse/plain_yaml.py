"""YAML from anybody: plain data, no repeated keys, and not much of it."""

from collections.abc import Hashable
from typing import Any, Final

import yaml

from dse.errors import SpecError

_MAX_NODES: Final = 20_000


def load_mapping(text: str | bytes, *, what: str, max_bytes: int) -> dict[Any, Any]:
    """Read a YAML mapping; its keys and values may be anything that YAML knows.

    Args:
        what: what errors call the document.

    Raises:
        SpecError: too large (as it is written, or unfolded), no plain YAML, no mapping, a key
            that stands twice, or a value that YAML cannot read.
    """
    size = len(text) if isinstance(text, bytes) else len(text.encode())
    if size > max_bytes:
        raise SpecError(f"a {what} has at most {max_bytes} bytes, got {size} or more")
    try:
        loader = _Loader(text)
        loader.what = what
        try:
            node = loader.get_single_node()
            if node is None:
                raise SpecError(f"a {what} must be a mapping, got an empty document")
            _count_nodes(node, set(), [0], what)
            data = _construct(loader, node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"the {what} is no plain YAML: {error}") from error
    except RecursionError as error:
        raise SpecError(f"the {what} is nested too deeply") from error
    if not isinstance(data, dict):
        raise SpecError(f"a {what} must be a mapping, got {type(data).__name__}")
    return data


class _Loader(yaml.SafeLoader):
    """Safe YAML without repeated keys."""

    what = "document"
    _composed = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # A megabyte of small nodes takes half a minute to compose: stop when there are too many.
        self._composed += 1
        if self._composed > _MAX_NODES:
            raise SpecError(f"a {self.what} has at most {_MAX_NODES} YAML nodes, got more")
        return super().compose_node(parent, index)

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, Any]:  # YAML values may be anything
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise SpecError(f"key {key!r} stands twice, line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def _construct(loader: _Loader, node: yaml.Node) -> object:
    try:
        return loader.construct_document(node)
    except SpecError:
        raise
    except (ValueError, LookupError, AttributeError) as error:
        # PyYAML lets its scalars' own errors through: 2020-13-45, !!bool x, !!timestamp x
        raise SpecError(
            f"the {loader.what} holds a value that YAML cannot read: {error}"
        ) from error


def _count_nodes(node: yaml.Node, above: set[int], total: list[int], what: str) -> None:
    """Walk the document as it will be unfolded: aliases count each time they are used."""
    total[0] += 1
    if total[0] > _MAX_NODES:
        raise SpecError(f"a {what} unfolds to at most {_MAX_NODES} YAML nodes, got more")
    if id(node) in above:
        raise SpecError(f"a {what} must not contain itself through an alias")
    if isinstance(node, yaml.SequenceNode | yaml.MappingNode):
        inner = above | {id(node)}
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                _count_nodes(part, inner, total, what)
