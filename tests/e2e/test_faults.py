import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from benchmarks.service import PATIENCE_S
from tests.e2e.conftest import Reference
from tests.e2e.runs import TINY, Home, reached, results

pytestmark = pytest.mark.slow

OTHER: Mapping[str, Any] = {**TINY, "search": {**TINY["search"], "seed": 4}}

FULL_DISKS = ("synthesising speech", "training", "measuring baselines", "searching")


def test_runs_on_one_database_at_once_do_not_disturb_each_other(
    reference: Reference, warm_home: Callable[[str], Home]
) -> None:
    home = warm_home("shared")
    specs = (TINY, TINY, OTHER)
    files = [home.folder.with_name(f"{number}.json") for number in range(len(specs))]

    started = [
        home.start("run", home.spec(spec), "--json", file, "--processes", 1)
        for spec, file in zip(specs, files, strict=True)
    ]
    said = [process.communicate(timeout=PATIENCE_S)[1] for process in started]

    assert [process.returncode for process in started] == [0, 0, 0], said
    same, again, other = (home.document(file) for file in files)
    assert results(same) == results(again) == results(reference.document)
    assert len({document["job"]["id"] for document in (same, again, other)}) == 3
    assert home.query("SELECT count(*) FROM event WHERE kind = 'evaluation.mismatch'") == [(0,)]
    assert results(other) == results(warm_home("alone").run(spec=OTHER))


def test_flipped_byte_in_the_corpus_is_found_and_mended(
    reference: Reference, warm_home: Callable[[str], Home]
) -> None:
    home = warm_home("damaged")
    [part] = (home.folder / "cache" / "corpus").glob("*/held_out.tensors")
    whole = part.read_bytes()
    middle = len(whole) // 2
    part.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])

    document = home.run()

    assert part.read_bytes() == whole
    assert results(document) == results(reference.document)


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_full_disk_ends_in_one_sentence_and_a_later_run_goes_on(
    reference: Reference, empty_home: Home
) -> None:
    for phase in FULL_DISKS:
        process = empty_home.start("run", empty_home.spec(), "--processes", 1)
        assert reached(process, phase)

        _fill_disk(process)
        _, said = process.communicate(timeout=PATIENCE_S)

        last = said.strip().splitlines()[-1]
        assert process.returncode == 1, said
        assert last.startswith("dse: ")
        # the cache's complaint, or the database's: whoever writes first
        assert "cannot write" in last or "refuses" in last
        assert str(empty_home.folder) in last
        assert "Traceback" not in said
        assert list(empty_home.folder.rglob("*.tmp")) == []
        assert empty_home.leftovers() == []

    assert results(empty_home.run()) == results(reference.document)


def _fill_disk(process: subprocess.Popen[str]) -> None:
    """Let the process write no file beyond its first page: EFBIG, as good as ENOSPC."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
