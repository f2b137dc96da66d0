"""Where random numbers come from: one generator per (seed, purpose, generation).

Nothing carries a generator's state from one generation to the next, so asking twice gives the
same answer and a resumed search draws what the undisturbed one drew.
"""

import hashlib

import numpy as np


def generator(seed: int, purpose: str, generation: int) -> np.random.Generator:
    """Return the generator of `purpose` ("nsga2.ask", …) in a generation (>= 0)."""
    word = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.PCG64([seed, word, generation]))
