"""Photos with their ImageNet classes, from the package foolbox, and views of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dse.ports import Progress
from evaluators.data.packages import DataFile, DataPackage

FOOLBOX: Final = DataPackage(name="foolbox", version="3.3.4", module="foolbox")

_SIXTEENTHS = 16
# Number and class, as in the file's name, and the SHA-256 of the file.
_PHOTOS: Final = {
    "00_243": "28b7b933c8028c6e20bf74a86a709eda42ce99f14c8742cb657cb386f08a4c9d",
    "01_559": "5f03b0c74dff01b5b4195d0beabcae2a625a406e6917957ab9c455b5b7dea6d6",
    "02_438": "ccef0734c1a65549c6cb5adb0f5d9b1c0b2e2104aba50a9e5f9202dc6d4532ed",
    "03_990": "c7f0b2f1e9ee39d8f900759e8983afa2e4a2d7de090060e8bb947f6e90cace5f",
    "04_949": "a7f62f3c1d214de4718c7253871ab38209283249e131faf65b8f2b7fdc970669",
    "05_853": "8a449436c61da867528b1f4efaf8ae832ab9c9201705eae0d3af1353fbdac131",
    "06_609": "fb061102a4e58b3ed942bb2a4f9542e1e1acdc8f225ef95498e93889290e192f",
    "07_609": "2c297ad1e5c4804a647e9b34bc02ee2fc348b05a4d49050d170fb61c948efa5c",
    "08_915": "c6a3411a3987799f0de45adc142f00ca412c3e14073c635e2adfae1f3913180c",
    "09_455": "ace3716b60ac5843269b270e17020e4f8138440cd30ef3487f7d6e54da9745a4",
    "10_541": "f325c71d9f4290ee45e99bd7ad42f4bffe513b1450ad21e7bd61c7cb137395d9",
    "11_630": "892dff58fc528fe63d2df0c783aa3eca2342637798578ce01763fbc0553eda01",
    "12_741": "6c256e17545b25bbf2e06cf6513ff48d049583569515ac4d4c3a52aea804a529",
    "13_471": "52ed0e738b90d27afcabc3e92c81ae637f160c2d9f75b93a65211005ab5dcd81",
    "14_129": "ad9371d813bf24b0365ee2f78f28c08718ee7c5975f060caa16c3f264e828139",
    "15_99": "4b588649cd835d4c65521727ebee03d9621baff1f54d3e8a53a26b53d983ec2e",
    "16_251": "ce3440a3b7beb6ca3009817504c44d39fa789e7c2f70a2eef7e2f9cc9a87b129",
    "17_22": "b432341845620e9cfd67d848c4783c32dd6eaddad45513866b17180d2b09fcf5",
    "18_317": "b9412f92f0b1c3faede45b55a44940977daa744f2040118d0538cf597fca785d",
    "19_305": "e1f58f00e2e47ce930d7ecab0e46a78316054f68c10d0742e87c1cc092324556",
}
FILES: Final = tuple(
    DataFile(package=FOOLBOX, path=f"data/imagenet_{name}.jpg", sha256=sha256)
    for name, sha256 in _PHOTOS.items()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A window of a photo, in sixteenths of its width and height.

    Attributes:
        size: of the window, both ways.
        left, top: where it begins.
        mirrored: left and right change places.
    """

    size: int = _SIXTEENTHS
    left: int = 0
    top: int = 0
    mirrored: bool = False

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom in a photo of so many pixels."""
        ends = (self.left, self.top, self.left + self.size, self.top + self.size)
        left, top, right, bottom = (end / _SIXTEENTHS for end in ends)
        return left * width, top * height, right * width, bottom * height


def classes() -> Tensor:
    """Return the ImageNet class of each photo: int64 (20,)."""
    return torch.tensor([int(name.partition("_")[2]) for name in _PHOTOS])


def read_photos(views: Sequence[View], *, side: int, progress: Progress) -> Tensor:
    """Return each view of all photos, one view after the other: uint8 (20 * views, 3, side, side).

    Needs pillow, the extra "photos".

    Args:
        side: of the pictures that bicubic interpolation makes of the windows, in pixels.

    Raises:
        SpecError: the package is missing or a file is not as it must be.
    """
    pixels = np.empty((len(views), len(FILES), side, side, 3), dtype=np.uint8)
    for number, file in enumerate(FILES):
        for row, picture in enumerate(_pictures(file.read(), views, side)):
            pixels[row, number] = picture
        progress("reading photos", number + 1, len(FILES))
    rows = torch.from_numpy(pixels).flatten(0, 1)
    return rows.permute(0, 3, 1, 2).contiguous()


def _pictures(content: bytes, views: Sequence[View], side: int) -> Iterator[NDArray[np.uint8]]:
    # an extra: costs can be had without
    from PIL import Image

    with Image.open(BytesIO(content)) as opened:
        photo = opened.convert("RGB")
    for view in views:
        box = view.box(*photo.size)
        made = photo.resize((side, side), Image.Resampling.BICUBIC, box=box)
        if view.mirrored:
            made = made.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        yield np.asarray(made)
