"""The same networks as files, for `dse workloads add`: no code of ours is needed to use them.

python -m digits_workload.export FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import torch

from digits_workload.images import Batches
from digits_workload.workload import digits_resnet, digits_vit
from dse.ports import silent
from evaluators.workloads.definition import Definition

_NETWORKS = (("resnet", digits_resnet, {"width": 12}), ("vit", digits_vit, {"width": 32}))


def write(name: str, definition: Definition, folder: Path) -> None:
    """Train a network and write NAME.pt2, and with it the images as .npz, to a folder."""
    torch.manual_seed(0)
    model = definition.model()
    assert definition.fit is not None
    definition.fit(model, silent)
    images = definition.calibration[0]
    batch = torch.export.Dim("batch", max=4096)
    program = torch.export.export(model.eval(), (images,), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / f"{name}.pt2")
    np.savez(folder / "calibration.npz", x=torch.cat(list(definition.calibration)).numpy())
    for split in ("search", "test"):
        batches: Batches = list(getattr(definition, split))
        inputs, labels = (torch.cat(part).numpy() for part in zip(*batches, strict=True))
        np.savez(folder / f"{split}.npz", x=inputs, y=labels)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make, params in _NETWORKS:
        write(name, make(params), folder)


if __name__ == "__main__":
    main()
