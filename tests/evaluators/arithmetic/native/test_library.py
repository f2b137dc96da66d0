import logging
import multiprocessing
from functools import cache
from pathlib import Path

import pytest
import torch

from evaluators.arithmetic import psum, psum_native
from evaluators.arithmetic.native import library
from evaluators.arithmetic.native.library import Kernel, compiler, find_kernel, kernel_at
from evaluators.arithmetic.psum import NATIVE, REFERENCE, TORCH, grouped_psum_matmul, prepare_psum
from evaluators.arithmetic.psum_native import proven_kernel
from tests.evaluators.arithmetic.psum_cases import gaussian_codes

_native = pytest.mark.skipif(proven_kernel() is None, reason="no native kernel here")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DSE_HOME in which no kernel was looked for."""
    monkeypatch.setenv("DSE_HOME", str(tmp_path))
    # compiles in a third of the time
    monkeypatch.setattr(library, "FLAGS", ("-O0", *library.FLAGS[1:]))
    # the process's own answers stay, for all other tests
    anew = cache(psum_native.proven_kernel.__wrapped__)
    monkeypatch.setattr(psum, "proven_kernel", anew)
    monkeypatch.setattr(library, "kernel_at", cache(library.kernel_at.__wrapped__))
    return tmp_path


def _forget() -> None:
    """Have the kernel looked for again."""
    library.kernel_at.cache_clear()


def _product(implementation: str) -> torch.Tensor:
    x, w = gaussian_codes(30, 40, seed=1), gaussian_codes(20, 40, seed=2)
    return grouped_psum_matmul(
        x,
        w,
        tile=16,
        group_size=2,
        exponents=[7, 8, 9],
        psum_bits=8,
        implementation=implementation,
    )


def _check_torch_takes_over(caplog: pytest.LogCaptureFixture, reason: str) -> None:
    wanted = _product(REFERENCE)

    with caplog.at_level(logging.WARNING):
        found = [_product(NATIVE) for _ in range(3)]

    assert all(torch.equal(one, wanted) for one in found)
    (record,) = caplog.records
    assert "torch takes its place" in record.getMessage()
    assert reason in record.getMessage()
    x, w = gaussian_codes(2, 4, seed=1), gaussian_codes(2, 4, seed=2)
    prepared = prepare_psum(w, tile=4, group_size=1, exponents=[1], psum_bits=8)
    assert prepared.implementation(x) == TORCH


@_native
def test_a_kernel_is_built_once_and_found_again(home: Path) -> None:
    first = find_kernel()
    (built,) = (home / "native").glob("*.so")
    age = built.stat().st_mtime_ns
    _forget()

    second = find_kernel()

    assert first is not None
    assert second is not None
    assert second.levels == first.levels
    assert built.stat().st_mtime_ns == age
    assert {path.suffix for path in (home / "native").iterdir()} <= {".so", ".sha256", ""}


@_native
@pytest.mark.parametrize("damage", [b"", b"no library at all", None])
def test_a_damaged_kernel_is_made_again(
    home: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = _product(REFERENCE)
    find_kernel()
    (built,) = (home / "native").glob("*.so")
    whole = built.read_bytes()
    # a file of its own, as this process has the old one loaded
    built.unlink()
    built.write_bytes(whole[:-100] + bytes(100) if damage is None else damage)
    _forget()

    with caplog.at_level(logging.WARNING):
        found = _product(NATIVE)

    assert torch.equal(found, wanted)
    assert len(caplog.records) == 1
    assert "is made again" in caplog.records[0].getMessage()
    assert find_kernel() is not None
    assert library._intact(built)


def test_without_a_compiler_torch_takes_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")

    _check_torch_takes_over(caplog, "no C++ compiler is found (c++, g++, clang++)")


def test_a_compiler_that_is_named_and_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")

    _check_torch_takes_over(caplog, "CXX=no-such-compiler")


def test_when_the_compiler_fails_torch_takes_over(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = tmp_path / "broken-compiler"
    broken.write_text("#!/bin/sh\necho 'fatal: out of disk' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))

    _check_torch_takes_over(caplog, "the compiler failed: fatal: out of disk")

    assert not list((home / "native").glob("*.so"))
    assert not list((home / "native").glob("build-*"))


def test_what_a_compiler_makes_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lying = tmp_path / "lying-compiler"
    lying.write_text('#!/bin/sh\nfor out; do :; done\necho nonsense > "$out"\n')
    lying.chmod(0o755)
    monkeypatch.setenv("CXX", str(lying))

    _check_torch_takes_over(caplog, "")


@_native
def test_a_kernel_that_computes_otherwise_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Kernel, "run", lambda self, product, level: None)

    _check_torch_takes_over(caplog, "computes something else than the reference")


def test_in_a_folder_that_cannot_be_written_torch_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # permissions would not keep root from writing
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DSE_HOME", str(tmp_path / "file"))

    _check_torch_takes_over(caplog, "file")


def test_on_another_processor_torch_takes_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")

    _check_torch_takes_over(caplog, "written for x86-64, this is aarch64")


@_native
def test_another_source_or_compiler_flag_is_another_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_kernel()
    _forget()
    monkeypatch.setattr(library, "FLAGS", (*library.FLAGS, "-DANOTHER"))

    find_kernel()

    assert len(list((home / "native").glob("*.so"))) == 2


def _levels(folder: str) -> tuple[str, ...]:
    kernel = kernel_at(Path(folder))
    return () if kernel is None else kernel.levels


@_native
@pytest.mark.slow
def test_processes_that_want_the_same_kernel_get_one(home: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(_levels, [str(home / "native")] * 2)

    assert found[0]
    assert found == [found[0]] * 2
    assert len(list((home / "native").glob("*.so"))) == 1
    assert compiler()
