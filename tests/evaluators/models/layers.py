"""Layers as tracing tells of them, in few words."""

from dse.design import Layer


def linear(name: str, k: int, n: int, *readers: str, m: int = 1) -> Layer:
    return Layer(name=name, m=m, k=k, n=n, input_elements=m * k, consumers=readers)


def conv(name: str, m: int, k: int, n: int, side: int, given: int, *readers: str) -> Layer:
    return Layer(name=name, m=m, k=k, n=n, kernel=side, input_elements=given, consumers=readers)


def product(name: str, m: int, k: int, n: int, heads: int, *readers: str) -> Layer:
    return Layer(
        name=name,
        m=m,
        k=k,
        n=n,
        groups=heads,
        input_elements=m * k * heads,
        consumers=readers,
        dynamic=True,
    )
