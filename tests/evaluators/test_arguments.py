from collections.abc import Callable

import pytest

from evaluators.arguments import call_with

_OFFERED = {"model": "m", "progress": "p"}


@pytest.mark.parametrize(
    ("function", "taken"),
    [
        (lambda: (), ()),
        (lambda model: (model,), ("m",)),
        (lambda net: (net,), ("m",)),
        (lambda net, tell: (net, tell), ("m", "p")),
        (lambda net, /, tell: (net, tell), ("m", "p")),
        (lambda progress, model: (progress, model), ("p", "m")),
        (lambda progress: (progress,), ("p",)),
        (lambda model, epochs=3: (model, epochs), ("m", 3)),
        (lambda model, epochs=3, progress=None: (model, epochs, progress), ("m", 3, "p")),
        (lambda net, progress=None: (net, progress), ("m", "p")),
        (lambda net, *, progress, rate=2: (net, progress, rate), ("m", "p", 2)),
        (lambda *given, **named: (given, named), (("m", "p"), {})),
    ],
)
def test_function_gets_what_it_asks_for(
    function: Callable[..., object], taken: tuple[object, ...]
) -> None:
    assert call_with(function, _OFFERED) == taken


def test_function_that_asks_for_more_says_so() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'data'"):
        call_with(lambda model, progress, data: None, _OFFERED)
