import tempfile

import pytest
import torch

from evaluators.arithmetic.psum_native import proven_kernel

# One for all tests of this process, and none in the user's own folder.
with tempfile.TemporaryDirectory() as _folder, pytest.MonkeyPatch.context() as _patch:
    _patch.setenv("DSE_HOME", _folder)
    proven_kernel()


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    torch.set_num_threads(1)
