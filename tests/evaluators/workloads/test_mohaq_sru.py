import subprocess
import sys
from pathlib import Path

import pytest

from dse.errors import SpecError
from evaluators.registry import Places, make_workload

PLACES = Places(home=Path("unused"))


def test_products_and_operations_are_those_of_the_paper() -> None:
    workload = make_workload("mohaq-sru", {}, PLACES)

    assert workload.name == "mohaq-sru"
    assert workload.metrics == ()
    assert workload.shape.names == ("L0", "P1", "L1", "P2", "L2", "P3", "L3", "FC")
    assert [layer.macs for layer in workload.shape.layers] == [
        *(75_900, 281_600, 844_800, 281_600, 844_800, 281_600, 844_800, 2_094_400)
    ]
    assert workload.shape.macs == workload.shape.weights == 5_549_500
    assert workload.shape.macs + workload.shape.elementwise_operations == 5_637_500
    assert workload.shape.vector_parameters == 8_800


def test_layers_name_the_ones_that_read_them() -> None:
    layers = make_workload("mohaq-sru", {}, PLACES).shape.layers

    assert [layer.consumers for layer in layers[:-1]] == [(layer.name,) for layer in layers[1:]]
    assert layers[-1].consumers == ()


def test_parameters_are_refused() -> None:
    with pytest.raises(SpecError, match=r"takes no parameters, got 'layers'"):
        make_workload("mohaq-sru", {"layers": 6}, PLACES)


def test_costing_a_shape_loads_no_torch() -> None:
    code = (
        "import sys; from pathlib import Path; import evaluators.registry as r;"
        "w = r.make_workload('mohaq-sru', {}, r.Places(home=Path('unused')));"
        "r.make_platform('silago', {}).cost(w.shape, {});"
        "print('torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
