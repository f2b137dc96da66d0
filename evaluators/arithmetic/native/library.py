"""The native kernel: compiled on first use and kept under DSE_HOME.

A file is named by all that it depends on and has its SHA-256 beside it. Whatever goes wrong, the
answer is None and one warning: everything can be computed without it.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, final

import torch
from filelock import FileLock

from dse.errors import CacheError

_log = logging.getLogger(__name__)

FLAGS: Final = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden")
REFUSAL: Final = "no native kernel for partial sums, torch takes its place (slower): %s"
_COMPILERS: Final = ("c++", "g++", "clang++")
_COMPILE_S: Final = 300
_LEVELS: Final = ((), ("avx2",), ("avx2", "vnni"))


class Product(ctypes.Structure):
    """As `psum.cpp` lays it out."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "weights", "corrections", "steps", "out")),
        *((name, ctypes.c_int64) for name in ("batch", "m", "k", "n")),
        *((name, ctypes.c_int64) for name in ("tile", "padded", "tiles")),
        *((name, ctypes.c_int32) for name in ("kind", "offset")),
    ]


@final
class Kernel:
    """A loaded library.

    Attributes:
        levels: the instruction sets that this processor has of those it was written for, the
            fastest last: "avx2", "vnni".
    """

    def __init__(self, path: Path) -> None:
        """Load a file.

        Raises:
            OSError: it is no library.
            AttributeError: it is another one.
        """
        library = ctypes.CDLL(str(path))
        library.psum_level.restype = library.psum_product.restype = ctypes.c_int32
        library.psum_product.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        self._product = library.psum_product
        self.levels: tuple[str, ...] = _LEVELS[library.psum_level()]

    def run(self, product: object, level: int) -> None:
        """Compute a `Product`, given by reference.

        Raises:
            MemoryError: there is none for a panel of rows.
        """
        if self._product(product, level):
            raise MemoryError("no memory for a panel of rows")


def find_kernel() -> Kernel | None:
    """Return the kernel of this process, which DSE_HOME holds or gets; None where there can be
    none: another processor, no compiler, a folder that cannot be written."""
    return kernel_at(kernel_folder())


def kernel_folder() -> Path:
    """Return where kernels lie: `native` below DSE_HOME."""
    return Path(os.environ.get("DSE_HOME") or "~/.beacon-dse").expanduser().absolute() / "native"


@cache
def kernel_at(folder: Path) -> Kernel | None:
    """As `find_kernel`, with the folder given; looked for once a process."""
    if platform.machine() not in ("x86_64", "AMD64"):
        _warn(f"it is written for x86-64, this is {platform.machine() or 'unknown'}")
        return None
    try:
        kernel = Kernel(_built(folder))
    except (OSError, AttributeError, CacheError, subprocess.SubprocessError) as error:
        _warn(_told(error))
        return None
    if not kernel.levels:
        _warn("this processor has no AVX2")
        return None
    return kernel


def compiler() -> str:
    """Return the path of a C++ compiler: CXX's, or the first of the usual names.

    Raises:
        CacheError: there is none.
    """
    named = os.environ.get("CXX")
    for name in (named,) if named else _COMPILERS:
        found = shutil.which(name)
        if found is not None:
            return found
    allowed = f"CXX={named}" if named else ", ".join(_COMPILERS)
    raise CacheError(f"no C++ compiler is found ({allowed})")


def _built(folder: Path) -> Path:
    source = files(__package__).joinpath("psum.cpp").read_bytes()
    identity = "\0".join([torch.__version__, platform.machine(), *FLAGS]).encode()
    key = hashlib.sha256(source + b"\0" + identity).hexdigest()
    path = folder / f"psum-{key[:32]}.so"
    if _intact(path):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not _intact(path):
            if path.exists():
                _log.warning("%s is damaged (another hash): it is made again", path)
            _compile(source, path)
    return path


def _intact(path: Path) -> bool:
    try:
        wanted = _hash_of(path).read_text(encoding="ascii").strip()
        return hashlib.sha256(path.read_bytes()).hexdigest() == wanted
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _compile(source: bytes, path: Path) -> None:
    command = [compiler(), *FLAGS, "-x", "c++", "-", "-o"]
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as scratch:
        made = Path(scratch) / path.name
        subprocess.run(
            [*command, str(made)],
            input=source,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_COMPILE_S,
        )
        digest = hashlib.sha256(made.read_bytes()).hexdigest()
        # The hash goes first: a library beside another's hash counts as damaged, not as whole.
        _hash_of(made).write_text(digest, encoding="ascii")
        _hash_of(made).replace(_hash_of(path))
        made.replace(path)


def _hash_of(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _told(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        return f"the compiler failed: {lines[-1] if lines else error}"
    return str(error)


def _warn(why: str) -> None:
    _log.warning(REFUSAL, why)
