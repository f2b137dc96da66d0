"""A folder of files as `dse workloads add` takes them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dse.ports import silent
from evaluators.registry import Places
from evaluators.workloads.files import Examined, FileWorkload
from evaluators.workloads.reading import examine
from evaluators.workloads.shelf import add_files
from tests.evaluators.models.exports import export


def write_files(
    folder: Path, model: nn.Module, shape: tuple[int, ...], *, train: bool = False
) -> dict[str, Path]:
    """Export a model and write data of random inputs, labelled as the model classifies them; of
    150 samples in each labelled split one in ten labels is wrong."""
    random = np.random.default_rng(0)
    export(model.eval(), torch.zeros(3, *shape), folder / "m.pt2")
    given = {"model": folder / "m.pt2"}
    for split in ("calibration", "search", "test", *(["train"] if train else [])):
        x = random.standard_normal((150, *shape)).astype(np.float32)
        with torch.no_grad():
            y = model(torch.from_numpy(x)).argmax(1).numpy()
        y[::10] = (y[::10] + 1) % 4
        given[split] = folder / f"{split[:2]}.npz"
        np.savez(given[split], x=x, y=y)
    return given


def options(given: Mapping[str, Path]) -> list[str]:
    """Return the files as options of the command."""
    return [text for part, path in given.items() for text in (f"--{part}", str(path))]


def add(
    places: Places,
    given: dict[str, Path],
    *,
    name: str = "own",
    metric: str = "top1-error",
    replace: bool = False,
) -> tuple[FileWorkload, Examined]:
    splits = [part for part in given if part != "model"]

    def examined(folder: Path, told: dict[str, str]) -> Examined:
        return examine(name, folder, metric, splits, places, told, silent)

    return add_files(name, given, metric=metric, replace=replace, places=places, examine=examined)
