"""The catalogue of metrics: unit, direction and meaning of every figure."""

from dataclasses import dataclass
from typing import Literal

from dse.errors import UnknownNameError

TEST_PREFIX = "test_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A named figure.

    Attributes:
        goal: "min" or "max": which way is better.
    """

    name: str
    unit: str
    goal: Literal["min", "max"]
    meaning: str

    @property
    def sign(self) -> float:
        """Factor that turns the figure into one to minimise."""
        return 1.0 if self.goal == "min" else -1.0


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="error", unit="%", goal="min", meaning="the workload's own error"),
        Metric(
            name="frame_error",
            unit="%",
            goal="min",
            meaning="share of frames whose most likely class is wrong",
        ),
        Metric(
            name="string_error",
            unit="%",
            goal="min",
            meaning="share of spoken strings with any word wrong",
        ),
        Metric(
            name="infidelity",
            unit="%",
            goal="min",
            meaning="100 (1 - correlation of the outputs with the float network's own)",
        ),
        Metric(
            name="kl",
            unit="nat",
            goal="min",
            meaning="mean Kullback-Leibler divergence of the output classes' probabilities from "
            "the float network's",
        ),
        Metric(
            name="memory_mib",
            unit="MiB",
            goal="min",
            meaning="weights at their widths plus vector parameters at 16 bits",
        ),
        Metric(
            name="speedup",
            unit="x",
            goal="max",
            meaning="against 16-bit operands, or the widest it takes, on the same accelerator; "
            "see the platform's mode",
        ),
        Metric(name="energy_uj", unit="uJ", goal="min", meaning="energy of one inference"),
        Metric(
            name="latency_cycles",
            unit="cycle",
            goal="min",
            meaning="duration of one inference, or of a batch where the platform has a batch",
        ),
        Metric(
            name="area_um2",
            unit="um2",
            goal="min",
            meaning="area of array and buffers; where the platform's array is made for a design, "
            "as wide as its widest operands",
        ),
    )
}


def metric(name: str) -> Metric:
    """Return the metric called `name`; `SPLIT_…` names the same figure on another split."""
    found = METRICS.get(name) or METRICS.get(name.partition("_")[2])
    if found is None:
        raise UnknownNameError("metric", name, sorted(METRICS))
    return found
