"""Figures and tables of `benchmarks.mohaq`: pure functions of finished runs."""

import platform
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from statistics import mean
from typing import Any

from benchmarks.mohaq import ALGORITHMS, BEACONS, COMPRESSION, Found

Json = dict[str, Any]
Row = Sequence[object]
_CHECKPOINTS = (160, 320, 630)
_MINUTE = 60.0


def figures(found: Sequence[Found]) -> Json:
    """Return every figure that the report shows, by workload."""
    workloads = dict.fromkeys(f.run.workload for f in found)
    return {
        "setup": _setup(found),
        "workloads": {
            w: _of_workload([f for f in found if f.run.workload == w]) for w in workloads
        },
    }


def report(found: Sequence[Found]) -> str:
    """Return the tables as Markdown."""
    told = figures(found)
    parts = [_HEAD, "Run with " + ", ".join(f"{k} {v}" for k, v in told["setup"].items()) + ".\n"]
    for workload, of in told["workloads"].items():
        parts.append(f"## {workload}\n")
        parts.append(f"Float network: {_floats(of['float'])}.\n")
        for title, key, columns in _TABLES:
            if of.get(key):
                parts += [f"### {title}\n", _table(columns, of[key])]
    return "\n".join(parts)


def _of_workload(found: Sequence[Found]) -> Json:
    by = {(f.run.part, f.run.seed): f for f in found}
    seeds = sorted({f.run.seed for f in found})

    def each(part: str) -> list[Found]:
        return [by[part, s] for s in seeds if (part, s) in by]

    def against_c(part: str) -> list[tuple[Found, Found]]:
        return [(by["c", f.run.seed], f) for f in each(part) if ("c", f.run.seed) in by]

    pairs = against_c("d")
    told: Json = {
        "float": found[0].document["job"]["float_metrics"],
        "memory": [memory_row(f) for f in each("a")],
        "silago": [silago_row(f) for f in each("b")],
        "beacons": [beacon_row(c, d) for c, d in pairs],
        "matched": matched_rows(pairs) if pairs else [],
        "made": [row for _, d in pairs for row in made_rows(d)],
        "ranges": [beacon_row(c, r) for c, r in against_c("r")],
        "algorithms": algorithm_rows(each("c"), {a: each(a) for a in ALGORITHMS}),
        "time": [time_row(c, d) for c, d in pairs if c.seconds and d.seconds],
    }
    for key in ("beacons", "ranges", "time"):
        if len(told[key]) > 1:
            told[key].append(_mean(told[key]))
    return told


def memory_row(found: Found) -> Json:
    """What post-training quantization alone can compress."""
    base = _test_base(found)
    row: Json = {"seed": found.run.seed, "front": len(found.document["front"])}
    for ratio in (4, 8, 12):
        best = _best(found, _at_most("memory_mib", found.float_mib / ratio))
        row[f"+points at {ratio}x"] = None if best is None else best - base
    small = [
        found.float_mib / e["metrics"]["memory_mib"]
        for e in found.document["front"]
        if e["metrics"].get("test_error", 1e9) <= base + 1.5
    ]
    row["largest x at +1.5"] = max(small, default=None)
    return row


def silago_row(found: Found) -> Json:
    """How much of the largest possible speedup and energy saving a minor error increase buys."""
    base = _test_base(found)
    uniform = {e["label"]: e["metrics"] for e in found.document["baselines"]}
    fastest, widest = uniform["uniform w4a4"], uniform["uniform w16a16"]
    most = widest["energy_uj"] / fastest["energy_uj"]
    row: Json = {"seed": found.run.seed, "front": len(found.document["front"])}
    for points in (0.5, 1.0, 2.0):
        near = [
            e["metrics"]
            for e in found.document["front"]
            if e["metrics"].get("test_error", 1e9) <= base + points
        ]
        speed = max((m["speedup"] / fastest["speedup"] for m in near), default=0.0)
        saving = max((widest["energy_uj"] / m["energy_uj"] / most for m in near), default=0.0)
        row[f"% speedup at +{points}"] = 100 * speed
        row[f"% saving at +{points}"] = 100 * saving
    row["uniform 4/4 +points"] = fastest["test_error"] - base
    return row


def beacon_row(c: Found, d: Found) -> Json:
    """(d) against (c) at equal numbers of designs, on the test split."""
    cuts = [(cut, s) for s, _, _, cut in _matched(c, d) if cut is not None]
    cut, at = max(cuts, default=(None, None))
    fast = [
        max((e["metrics"]["speedup"] for e in f.document["front"]), default=0.0) for f in (c, d)
    ]
    volumes = [f.document["hypervolume"][-1] for f in (c, d)]
    possible = max(e["metrics"]["speedup"] for e in c.document["baselines"])
    return {
        "seed": c.run.seed,
        "largest cut": cut,
        "at speedup": at,
        "fastest (c)": fast[0],
        "fastest (d)": fast[1],
        "ratio": fast[1] / fast[0] if fast[0] else None,
        "fastest possible": possible,
        "hypervolume (c)": volumes[0],
        "hypervolume (d)": volumes[1],
        "hv ratio": volumes[1] / volumes[0] if volumes[0] else None,
    }


def matched_rows(pairs: Sequence[tuple[Found, Found]]) -> list[Json]:
    """Test error of the best design at least so fast, mean over seeds."""
    rows = []
    for speed in (15, 20, 25, 30, 35, 40, 45, 50, 55, 60):
        row: Json = {"speedup at least": speed}
        for name, side in (("(c)", 0), ("(d)", 1)):
            best = [_best(p[side], _at_least("speedup", speed)) for p in pairs]
            known = [b for b in best if b is not None]
            row[name] = mean(known) if known else None
            row[f"seeds with one {name}"] = f"{len(known)} of {len(pairs)}"
        rows.append(row)
    return rows


def made_rows(found: Found) -> list[Json]:
    """The beacons of a run."""
    return [
        {
            "seed": found.run.seed,
            "beacon": b["number"],
            "generation": b["generation"],
            "w": ",".join(map(str, b["design"]["w_bits"].values())),
            "a": ",".join(map(str, b["design"]["a_bits"].values())),
            "error before": b["base_error"],
            "ranges fitted": b["curve"][0]["error"] if b["curve"] else None,
            "error after": b["error"],
            "served": b["served"],
            "mean gain": b["mean_gain"],
        }
        for b in found.document["beacons"]
    ]


def algorithm_rows(ours: Sequence[Found], others: dict[str, list[Found]]) -> list[Json]:
    """Hypervolume by designs and by time, and how many designs of ours equal another's 630."""
    rows = []
    ours_by_seed = {f.run.seed: f for f in ours}
    for name, runs in {"nsga2 (ours)": list(ours), **others}.items():
        runs = [f for f in runs if f.run.seed in ours_by_seed]
        if not runs:
            continue
        row: Json = {"algorithm": name, "seeds": len(runs)}
        for designs in _CHECKPOINTS:
            row[f"hv at {designs}"] = mean(_volume(f, designs) for f in runs)
        needed = [_needed(ours_by_seed[f.run.seed], _volume(f, 630)) for f in runs]
        row["ours needs"] = (
            mean(n for n in needed if n is not None)
            if all(n is not None for n in needed)
            else f"more in {sum(n is None for n in needed)} of {len(needed)}"
        )
        timed = [f for f in runs if f.seconds]
        for share in (1, 2, 4):
            volumes = [_volume_at(f, share * _MINUTE) for f in timed]
            row[f"hv at {share} min"] = mean(volumes) if volumes else None
        row["seconds"] = mean(f.seconds[-1] for f in timed) if timed else None
        rows.append(row)
    base = [f.document["job"]["baseline_hypervolume"] for f in ours]
    if base:
        rows.append(
            {"algorithm": "uniform and greedy", "seeds": len(base), "hv at 630": mean(base)}
        )
    return rows


def time_row(c: Found, d: Found) -> Json:
    """Wall time of both."""
    return {
        "seed": c.run.seed,
        "(c) s": c.seconds[-1],
        "(d) s": d.seconds[-1],
        "ratio": d.seconds[-1] / c.seconds[-1],
        "hypervolume (c)": c.document["hypervolume"][-1],
        "(d) at (c)'s time": _volume_at(d, c.seconds[-1]),
        "hypervolume (d)": d.document["hypervolume"][-1],
    }


def _matched(c: Found, d: Found) -> list[tuple[float, float, float | None, float | None]]:
    """Return for each speed on the front of (c): speed, best test errors there, the cut."""
    rows = []
    for e in c.document["front"]:
        speed = e["metrics"]["speedup"]
        before = _best(c, _at_least("speedup", speed))
        after = _best(d, _at_least("speedup", speed))
        if before is not None:
            rows.append((speed, before, after, None if after is None else before - after))
    return rows


def _best(found: Found, wanted: Callable[[Json], bool]) -> float | None:
    """Return the least test error of front members that are as wanted."""
    errors = [
        e["metrics"]["test_error"]
        for e in found.document["front"]
        if "test_error" in e["metrics"] and wanted(e["metrics"])
    ]
    return min(errors, default=None)


def _at_least(metric: str, value: float) -> Callable[[Json], bool]:
    return lambda metrics: bool(metrics[metric] >= value)


def _at_most(metric: str, value: float) -> Callable[[Json], bool]:
    return lambda metrics: bool(metrics[metric] <= value)


def _test_base(found: Found) -> float:
    error: float = found.document["job"]["float_metrics"]["test_error"]
    return error


def _designs(generation: int) -> int:
    return 40 + 10 * generation


def _volume(found: Found, designs: int) -> float:
    """Return the hypervolume after so many designs."""
    volumes = [v for g, v in enumerate(found.document["hypervolume"]) if _designs(g) <= designs]
    return volumes[-1]


def _needed(found: Found, volume: float) -> int | None:
    """Return after how many designs the hypervolume is reached, None for never."""
    reached = (g for g, v in enumerate(found.document["hypervolume"]) if v >= volume)
    generation = next(reached, None)
    return None if generation is None else _designs(generation)


def _volume_at(found: Found, seconds: float) -> float:
    pairs = zip(found.seconds, found.document["hypervolume"], strict=True)
    return max((v for at, v in pairs if at <= seconds), default=0.0)


def _mean(rows: Sequence[Json]) -> Json:
    keys = [k for k in rows[0] if k not in ("seed", "at speedup")]
    means: Json = {"seed": "mean"}
    for key in keys:
        known = [row[key] for row in rows if row[key] is not None]
        means[key] = mean(known) if known else None
    return means


def _setup(found: Iterable[Found]) -> Json:
    return {
        "torch": metadata.version("torch"),
        "optuna": metadata.version("optuna"),
        "Python": platform.python_version(),
        "machine": platform.machine(),
        "seeds": " ".join(map(str, sorted({f.run.seed for f in found}))),
    }


def _floats(metrics: Json) -> str:
    names = sorted(name for name in metrics if name.endswith("error"))
    return ", ".join(f"{name} {metrics[name]:.2f} %" for name in names)


def _table(columns: str, rows: Sequence[Json]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        lines.append("| " + " | ".join(_cell(row.get(name)) for name in names) + " |")
    return f"{columns}\n\n" + "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 10
        else (f"{value:.1f}" if isinstance(value, float) else str(value))
    )


_HEAD = f"""# MOHAQ's experiments

`python -m benchmarks.mohaq` made these tables. Population 40, offspring 10, 60 generations: 630
designs a search, no seed designs, error at most 20 points above the float network's. (c) and (d)
leave memory for a compression of {COMPRESSION} or more against float32. Beacons of (d): {BEACONS}.
Errors are of the test split unless said otherwise; "+points" count from the float network.
"""

_TABLES = (
    (
        "(d) against (c): beacons against post-training quantization alone",
        "beacons",
        'The largest cut of the error gain at matched speedup ("at speedup"); the fastest design '
        "within the limits, beside the fastest of the platform, whatever its error (2 bits "
        "everywhere, 4 for the last inputs); hypervolumes on the search split. The paper: cuts up "
        "to 4.9 points.",
    ),
    (
        "Best test error of front members at least so fast",
        "matched",
        "Mean over the seeds that have such a design.",
    ),
    (
        "Beacons made",
        "made",
        "Widths in the order of layers; errors on the search split: on base weights with the "
        "float run's ranges, on base weights with ranges fitted behind the design's own layers, "
        "after retraining; `served` designs have their error from the beacon.",
    ),
    (
        "What fitted ranges alone give: beacons of one step against (c)",
        "ranges",
        "As the first table, (d) being the same search with beacons that were retrained for one "
        "batch only: what they gain is calibration.",
    ),
    (
        "(b) SiLago",
        "silago",
        "Largest share of the largest possible speedup and energy saving (all 4 bits) among front "
        "members whose test error is at most so many points above the float network's. The paper: "
        "97 % and 86 % with minor error increase.",
    ),
    (
        "(a) Error against memory",
        "memory",
        "Least test error increase at a compression of 4, 8 and 12 times against float32, and the "
        "largest compression at +1.5 points. The paper: 8x without significant error increase, "
        "12x at +1.5 (first version).",
    ),
    (
        "(c) by other algorithms",
        "algorithms",
        "Mean hypervolume on the search split after so many designs; after how many designs our "
        "NSGA-II has what the other has after 630; hypervolume after so many minutes of wall time "
        "and the seconds of the whole search, where others' evaluations were not there.",
    ),
    (
        "Wall time",
        "time",
        "Seconds of the whole search, two evaluation processes, where others' evaluations were "
        "not there.",
    ),
)
