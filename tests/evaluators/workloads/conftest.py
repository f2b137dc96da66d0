from pathlib import Path

import pytest
import torch

from evaluators.registry import Places
from tests.evaluators.models.exports import Mlp
from tests.evaluators.workloads.file_sets import write_files


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    return write_files(tmp_path_factory.mktemp("given"), Mlp(), (6,), train=True)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(home=tmp_path / "home")
