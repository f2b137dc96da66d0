"""What lies in a .pt2 archive of `torch.export.save`, read without running anything in it.

`torch.export.load` is not used: it unpickles members without restriction when the restricted way
fails, has sympy evaluate texts as Python, and resolves operators as any attributes of `torch`.
Here the graph is JSON, weights are raw bytes, and a member that is pickled must load weights-only;
whatever else lies in the archive is refused.
"""

import io
import json
import math
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from dse.errors import SpecError

MOST_BYTES: Final = 4 * 2**30
MOST_JSON_BYTES: Final = 64 * 2**20
MOST_MEMBERS: Final = 20_000

_PROGRAM: Final = "models/model.json"
_WEIGHTS: Final = "data/weights/model_weights_config.json"
_CONSTANTS: Final = "data/constants/model_constants_config.json"
_SAMPLE: Final = "data/sample_inputs/model.pt"
_PLAIN: Final = re.compile(
    r"archive_format|archive_version|byteorder|version|\.format_version|\.storage_alignment"
    r"|\.data/(version|serialization_id)"
    rf"|{re.escape(_PROGRAM)}|{re.escape(_WEIGHTS)}|{re.escape(_CONSTANTS)}|{re.escape(_SAMPLE)}"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
    r"|extra/[\w.-]+"
)
_FORBIDDEN: Final = {
    "data/aotinductor/": "compiled code",
    "data/executorch/": "compiled code",
    "data/constants/custom_obj_": "a custom object",
    "data/constants/opaque_obj_": "a custom object",
}
# what reading a zip archive raises, beside OSError, if it is none, damaged or encrypted
_BROKEN: Final = (
    *(zipfile.BadZipFile, EOFError, struct.error, ValueError, OverflowError),
    *(NotImplementedError, RuntimeError, KeyError),
)
_AGAIN: Final = "allowed: one written by torch.export.save(torch.export.export(model.eval(), …))"

# the numbers of torch._export.serde.schema.ScalarType
DTYPES: Final[Mapping[int, torch.dtype]] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}


@dataclass(frozen=True, slots=True)
class Archive:
    """The content of a .pt2 file.

    Attributes:
        program: the exported program as JSON, unchecked.
        tensors: parameters (`nn.Parameter`), buffers and constants by their full names; names
            that shared a tensor share it still.
    """

    program: Mapping[str, Any]  # JSON
    tensors: Mapping[str, Tensor]


def read_archive(path: Path) -> Archive:
    """Read a .pt2 file.

    Raises:
        SpecError: it is none, too large, or holds what could run code.
    """
    try:
        with zipfile.ZipFile(path) as file:
            members = _members(file, path)
            _check_labels(file, members, path)
            _check_sample(file, members, path)
            tensors = _tensors(file, members, path, _WEIGHTS, "data/weights/")
            tensors |= _tensors(file, members, path, _CONSTANTS, "data/constants/")
            return Archive(_json(file, members, path, _PROGRAM), tensors)
    except SpecError:
        raise
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror or error}") from error
    except _BROKEN as error:
        raise SpecError(f"{path} is no .pt2 archive ({error}); {_AGAIN}") from error


def check_pickle(content: bytes, told: str) -> object:
    """Return what a pickled member holds, tensors in plain containers.

    Raises:
        SpecError: it does not load weights-only: unpickling it might run code.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            sizes = [info.file_size for info in inner.infolist()]
    except _BROKEN as error:
        raise SpecError(f"{told} is not what torch.save writes; {_AGAIN}") from error
    if sum(sizes) > max(MOST_JSON_BYTES, 2 * len(content)):
        raise SpecError(f"{told} unpacks to {sum(sizes)} bytes, out of {len(content)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # any: the content is an outsider's
        raise SpecError(
            f"{told} does not load weights-only, so it might run code: refused. "
            "Allowed: tensors in tuples, lists and dicts"
        ) from error


def _members(file: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return members by their path below the archive's folder, after all checks of their names
    and sizes."""
    infos = file.infolist()
    if len(infos) > MOST_MEMBERS:
        raise SpecError(f"{path} holds {len(infos)} members; allowed: {MOST_MEMBERS}")
    root = infos[0].filename.partition("/")[0] if infos else ""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        folder, _, name = info.filename.partition("/")
        if folder != root or name in members:
            raise SpecError(f"{path}: member {info.filename!r} is misplaced; {_AGAIN}")
        for forbidden, what in _FORBIDDEN.items():
            if name.startswith(forbidden):
                raise SpecError(f"{path}: member {info.filename!r} is {what}: refused; {_AGAIN}")
        if not _PLAIN.fullmatch(name):
            raise SpecError(f"{path}: member {info.filename!r} is not expected; {_AGAIN}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise SpecError(f"{path}: member {info.filename!r} is compressed; {_AGAIN}")
        members[name] = info
    total = sum(info.file_size for info in infos)
    if total > min(MOST_BYTES, path.stat().st_size):
        raise SpecError(f"{path} holds {total} bytes; allowed: its own size, at most {MOST_BYTES}")
    for name in (_PROGRAM, _WEIGHTS, _CONSTANTS):
        if name not in members:
            raise SpecError(f"{path} is no .pt2 archive: member {name!r} is missing; {_AGAIN}")
    return members


def _check_labels(
    file: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], path: Path
) -> None:
    for name, wanted in {"archive_format": b"pt2", "byteorder": b"little"}.items():
        found = file.read(members[name]) if name in members else b"nothing"
        if found != wanted:
            raise SpecError(
                f"{path}: {name} must be {wanted.decode()!r}, got {found[:20]!r}; {_AGAIN}"
            )


def _check_sample(
    file: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], path: Path
) -> None:
    if _SAMPLE in members and members[_SAMPLE].file_size:
        check_pickle(file.read(members[_SAMPLE]), f"{path}: member {_SAMPLE!r}")


def _json(
    file: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], path: Path, name: str
) -> dict[str, Any]:
    if members[name].file_size > MOST_JSON_BYTES:
        raise SpecError(f"{path}: member {name!r} is larger than {MOST_JSON_BYTES} bytes")
    try:
        found = json.loads(file.read(members[name]))
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: member {name!r} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise SpecError(f"{path}: member {name!r} must be a JSON object")
    return found


def _tensors(
    file: zipfile.ZipFile,
    members: Mapping[str, zipfile.ZipInfo],
    path: Path,
    config: str,
    folder: str,
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    storages: dict[tuple[str, torch.dtype], Tensor] = {}
    same: dict[tuple[object, ...], Tensor] = {}
    entries = _json(file, members, path, config).get("config")
    for name, entry in (entries if isinstance(entries, dict) else {}).items():
        told = f"{path}: tensor {name!r}"
        try:
            member = folder + entry["path_name"]
            if member not in members:
                raise SpecError(f"{told} is missing: there is no member {member!r}")
            if entry["use_pickle"]:
                tensors[name] = _plain(check_pickle(file.read(members[member]), told), entry, told)
                continue
            view = _View.of(entry["tensor_meta"])
            if (member, view.dtype) not in storages:
                content = bytearray(file.read(members[member]))
                storages[member, view.dtype] = _storage(content, view.dtype, told)
            key = (member, view, bool(entry["is_param"]))
            if key not in same:
                same[key] = _plain(view.over(storages[member, view.dtype], told), entry, told)
            tensors[name] = same[key]
        except (KeyError, TypeError, AttributeError) as error:
            raise SpecError(f"{told} is not described as torch.export.save does") from error
    return tensors


def _storage(content: bytearray, dtype: torch.dtype, told: str) -> Tensor:
    if len(content) % dtype.itemsize:
        raise SpecError(f"{told} has {len(content)} bytes: not a multiple of {dtype.itemsize}")
    if not content:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype)


def _plain(found: object, entry: Mapping[str, Any], told: str) -> Tensor:
    if type(found) not in (Tensor, torch.nn.Parameter) or not isinstance(found, Tensor):
        raise SpecError(f"{told} is a {type(found).__name__}; allowed: plain tensors")
    if found.layout is not torch.strided or found.is_quantized:
        raise SpecError(f"{told} is sparse or quantized; allowed: plain tensors")
    found = found.detach()
    if not entry["is_param"]:
        return found
    learns = found.is_floating_point() and entry["tensor_meta"]["requires_grad"] is True
    return torch.nn.Parameter(found, requires_grad=learns)


@dataclass(frozen=True, slots=True)
class _View:
    dtype: torch.dtype
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> "_View":
        """Read a TensorMeta; raises KeyError or TypeError where it is none."""
        return cls(
            dtype=DTYPES[meta["dtype"]],
            sizes=tuple(_count(size) for size in meta["sizes"]),
            strides=tuple(_count(stride) for stride in meta["strides"]),
            offset=_count(meta["storage_offset"]),
        )

    def over(self, storage: Tensor, told: str) -> Tensor:
        elements = math.prod(self.sizes)
        if len(self.sizes) != len(self.strides) or elements * self.dtype.itemsize > MOST_BYTES:
            raise SpecError(f"{told} has sizes {self.sizes} and strides {self.strides}")
        if elements == 0:
            return torch.empty(self.sizes, dtype=self.dtype)
        reach = zip(self.sizes, self.strides, strict=True)
        last = self.offset + sum((size - 1) * stride for size, stride in reach)
        if last >= storage.numel():
            raise SpecError(f"{told} reaches beyond its {storage.numel()} stored elements")
        view = storage.as_strided(self.sizes, self.strides, self.offset)
        # an expanded tensor cannot be written to, as loading a state does
        return view.contiguous() if 0 in self.strides else view


def _count(told: Mapping[str, Any]) -> int:
    found = told["as_int"]
    if type(found) is not int or not 0 <= found < 2**48:
        raise TypeError(f"a size must be a number, got {told}")
    return found
