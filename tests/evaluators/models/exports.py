"""Networks to export, and exported files to tamper with."""

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.models.archive import read_archive
from evaluators.models.exported import ExportedNetwork
from evaluators.models.products import find_products
from evaluators.models.program import Program, read_program


class Residual(nn.Module):
    """A CNN with a residual branch, batch norms and an in-place activation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding="same", bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.deep = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6)
        self.down = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)), inplace=True)
        x = x + functional.relu(self.deep(x))
        found: Tensor = self.head(functional.relu(self.down(x)).mean((2, 3)))
        return found


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 4))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        apart = self.qkv(self.norm(x)).view(batch, tokens, 3, self.heads, -1)
        q, k, v = apart.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        found: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + found


class Vit(nn.Module):
    """Patches, two blocks with their own attention, nn.MultiheadAttention, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        self.place = nn.Parameter(torch.randn(1, 4, 8))
        self.blocks = nn.ModuleList([Block(8, 2), Block(8, 2)])
        self.last = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        for block in self.blocks:
            x = block(x)
        x = x + self.last(x, x, x, need_weights=False)[0]
        found: Tensor = self.head(x.mean(1))
        return found


def export(
    model: nn.Module, x: Tensor, path: Path, *, static: bool = False, decompose: bool = False
) -> Callable[[Tensor], Tensor]:
    """Write a .pt2 file; return the exported program as PyTorch runs it."""
    shapes = None if static else {"x": {0: torch.export.Dim("batch")}}
    program = torch.export.export(model, (x,), dynamic_shapes=shapes)
    if decompose:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch's own, at itself
            program = program.run_decompositions()
    torch.export.save(program, path)
    return program.module()


def program_of(path: Path) -> Program:
    return read_program(read_archive(path), path.name)


def network_of(path: Path) -> ExportedNetwork:
    program = program_of(path)
    return ExportedNetwork(program, find_products(program))


def rewrite(
    source: Path,
    target: Path,
    *,
    replace: Mapping[str, bytes] | None = None,
    add: Mapping[str, bytes] | None = None,
    compress: bool = False,
) -> Path:
    """Copy an archive with members replaced or added; names are below its folder."""
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", kind) as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            below = name.partition("/")[2]
            new.writestr(name, (replace or {}).get(below, old.read(name)))
        for below, content in (add or {}).items():
            new.writestr(f"{root}/{below}", content)
    return target


def edit_json(source: Path, target: Path, member: str, edit: Callable[[Any], None]) -> Path:
    """Copy an archive with a JSON member edited in place."""
    with zipfile.ZipFile(source) as old:
        root = old.namelist()[0].partition("/")[0]
        document = json.loads(old.read(f"{root}/{member}"))
    edit(document)
    return rewrite(source, target, replace={member: json.dumps(document).encode()})


def payload(marker: Path) -> bytes:
    """Return what torch.save would write of an object that makes a file when it is unpickled."""
    content = io.BytesIO()
    torch.save(Bomb(marker), content)
    return content.getvalue()


def bare_payload(marker: Path) -> bytes:
    return pickle.dumps(Bomb(marker))


class Bomb:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., None], tuple[object, ...]]:
        return Path.touch, (self._marker,)
