"""Texts whose likeness people have judged, from the test data of the package gensim.

Lee, Pincombe and Welsh, An empirical evaluation of models of text document similarity (2005), and
Finkelstein et al., Placing search in context (2002), known as WordSim-353.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluators.data.packages import DataFile, DataPackage

GENSIM: Final = DataPackage(name="gensim", version="4.4.0", module="gensim")


def _gensim(name: str, sha256: str) -> DataFile:
    return DataFile(package=GENSIM, path=f"test/test_data/{name}", sha256=sha256)


_DOCUMENTS: Final = _gensim(
    "lee.cor", "a878f9a58f6743c32985c56c2f2f75988386216b38a4023a01fd3bcf7884d93e"
)
_LIKENESS: Final = _gensim(
    "similarities0-1.txt", "23762bc6b728897144dda3d324a2c032dc1e059e1009806226d64b6dd123ed79"
)
_NEWS: Final = _gensim(
    "lee_background.cor", "5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb"
)
_WORDS: Final = _gensim(
    "wordsim353.tsv", "f92a022fc2537793a15bc3a8c162ebcd74990e033a228bb6388cb71e4c0b1e1d"
)
FILES: Final = (_DOCUMENTS, _LIKENESS, _NEWS, _WORDS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Texts, and what people say of the likeness of some pairs of them.

    Attributes:
        pairs: places in `texts`: int64 (pairs, 2).
        judged: mean over the people, higher is more alike: float64 (pairs,).
    """

    texts: tuple[str, ...]
    pairs: NDArray[np.int64]
    judged: NDArray[np.float64]


def lee_documents() -> Pairs:
    """Return 50 news documents and all 1,225 pairs of them, judged from 0 to 1.

    Raises:
        SpecError: the package is not as it must be.
    """
    texts = tuple(_DOCUMENTS.read().decode("latin-1").splitlines())
    lines = _LIKENESS.read().decode("ascii").splitlines()
    # Only what stands above the diagonal was judged; the rest of the file is zero.
    matrix = np.array([[float(cell) for cell in line.split()] for line in lines])
    pairs = np.stack(np.triu_indices(len(texts), 1), axis=1).astype(np.int64)
    return Pairs(texts=texts, pairs=pairs, judged=matrix[pairs[:, 0], pairs[:, 1]])


def word_pairs() -> Pairs:
    """Return the 353 pairs of WordSim-353, judged from 0 to 10; no word comes twice in `texts`.

    Raises:
        SpecError: the package is not as it must be.
    """
    lines = _WORDS.read().decode("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    texts = tuple(dict.fromkeys(word for row in rows for word in row[:2]))
    places = {word: place for place, word in enumerate(texts)}
    return Pairs(
        texts=texts,
        pairs=np.array([[places[word] for word in row[:2]] for row in rows], dtype=np.int64),
        judged=np.array([float(row[2]) for row in rows]),
    )


def background_news() -> tuple[str, ...]:
    """Return 300 other news documents, from the same source as Lee's.

    Raises:
        SpecError: the package is not as it must be.
    """
    return tuple(_NEWS.read().decode("ascii").splitlines())
