"""`dse submit`, `watch`, `front`, `cancel`, …: jobs of a running service, through the SDK."""

import json
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from api.assignments import params_from
from api.console import err, figure, front_table, heading, out
from dse.client import Client, Event, Front, Job, JobState, NotFoundError, Recost
from dse.errors import Interrupted, SpecError, UnknownNameError

LATEST = "latest"

Server = Annotated[
    str | None,
    typer.Option("--server", help="its URL; left out: DSE_SERVER, or http://127.0.0.1:8000"),
]
Name = Annotated[
    str, typer.Argument(metavar="JOB", help="a job's id or its beginning, or `latest`")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]


def submit(
    spec: Annotated[Path, typer.Argument(help="a job spec, YAML or JSON")],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Queue a search at a running service.

    \b
    dse submit examples/quick.yaml
    dse submit examples/quick.yaml --json
    """
    with Client(server) as client:
        job = client.submit(spec)
    if as_json:
        typer.echo(json.dumps({"id": job.id, "state": job.state}))
        return
    out.print(
        f"job {job.id} is {job.state}; follow it: dse watch {job.id}", markup=False, soft_wrap=True
    )


def watch(job: Name = LATEST, server: Server = None) -> None:
    """Follow a job to its end; exit code 0 says that it succeeded.

    \b
    dse watch latest
    """
    with Client(server) as client:
        found = find_job(client, job)
        # where no line can be redrawn, each event is a line
        told = None if err.is_terminal else _say
        try:
            found.wait(on_event=told)
        except KeyboardInterrupt as stop:
            raise Interrupted(f"job {found.id} runs on; end it: dse cancel {found.id}") from stop
        hypervolume = figure(found.hypervolume)
        out.print(
            f"job {found.id} has {found.state}: {found.front_size} designs on the front, "
            f"hypervolume {hypervolume}; see it: dse front {found.id}",
            markup=False,
            soft_wrap=True,
        )


def front(
    job: Name = LATEST,
    server: Server = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print a CSV table")] = False,
    recost: Annotated[
        str | None, typer.Option(metavar="PLATFORM", help="cost it on another platform, too")
    ] = None,
    param: Annotated[
        list[str], typer.Option("--param", help="NAME=VALUE of that platform; may be repeated")
    ] = [],  # noqa: B006
) -> None:
    """Show a job's front, finished or not.

    \b
    dse front latest
    dse front latest --csv > front.csv
    dse front latest --recost zigzag --param constants=interstellar-28
    """
    if as_json and as_csv:
        raise SpecError("--json and --csv exclude each other")
    if recost is None and param:
        raise SpecError("--param is the platform's of --recost, which is not given")
    if recost is not None and as_csv:
        raise SpecError("--csv and --recost exclude each other; allowed: --json")
    with Client(server) as client:
        found = find_job(client, job)
        shown = found.front()
        others = () if recost is None else found.recost(recost, params_from(param))
    if recost is not None:
        _show_recosts(recost, shown, {other.hash: other for other in others}, as_json)
    elif as_json:
        typer.echo(json.dumps({"objectives": shown.objectives, "items": _items(shown)}, indent=2))
    elif as_csv:
        typer.echo(shown.to_csv(), nl=False)
    else:
        title = f"front of job {found.id} after generation {found.generation}"
        out.print(front_table(title, _items(shown), shown.metrics))


def _show_recosts(
    platform: str, shown: Front, others: Mapping[str, Recost], as_json: bool
) -> None:
    if as_json:
        items = [{**i, "recost": others[i["hash"]].model_dump(mode="json")} for i in _items(shown)]
        document = {"objectives": shown.objectives, "platform": platform, "items": items}
        typer.echo(json.dumps(document, indent=2))
        return
    names = list(dict.fromkeys(name for other in others.values() for name in other.costs))
    columns = [heading(name) for name in shown.metrics]
    columns += [f"{platform} {heading(name)}" for name in names]
    table = Table("design", *columns, "why not", title=f"front, costed on {platform} too")
    for evaluation in shown:
        other = others[evaluation.hash]
        told = [figure(evaluation.metrics.get(name)) for name in shown.metrics]
        told += [figure(other.costs.get(name)) for name in names]
        table.add_row(evaluation.hash[:10], *told, (other.reason or "").replace("[", r"\["))
    out.print(table)


def cancel(job: Name, server: Server = None) -> None:
    """End a job; what it has measured is kept, and `dse resume` goes on from there.

    \b
    dse cancel latest
    """
    _act(job, server, Job.cancel)


def pause(job: Name, server: Server = None) -> None:
    """Let a job rest until `dse resume`.

    \b
    dse pause latest
    """
    _act(job, server, Job.pause)


def resume(job: Name, server: Server = None) -> None:
    """Let a paused, cancelled or failed job go on where it was.

    \b
    dse resume latest
    """
    _act(job, server, Job.resume)


def extend(
    job: Name,
    generations: Annotated[int, typer.Option(min=1, help="in all, more than the job had")],
    server: Server = None,
) -> None:
    """Let a finished, paused or cancelled job run to more generations.

    \b
    dse extend latest --generations 120
    """
    _act(job, server, lambda found: found.extend(generations))


def jobs(
    state: Annotated[JobState | None, typer.Option(help="only jobs of this state")] = None,
    limit: Annotated[int, typer.Option(min=1, help="at most so many")] = 50,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List the service's jobs, the youngest first.

    \b
    dse jobs
    dse jobs --state LEASED --json
    """
    with Client(server) as client:
        found = list(islice(client.list(state), limit))
    if as_json:
        items = [job.model_dump(mode="json", exclude={"spec"}) for job in found]
        typer.echo(json.dumps({"items": items}, indent=2))
        return
    columns = ("job", "name", "workload", "state", "generation", "front", "hypervolume", "created")
    table = Table(*columns)
    for job in found:
        table.add_row(*(cell.replace("[", r"\[") for cell in _cells(job)))
    out.print(table)


def find_job(client: Client, told: str) -> Job:
    """Return the job with this id, the one whose id begins so, or the "latest".

    Raises:
        UnknownNameError: none, or more than one.
        SpecError: there are no jobs at all.
    """
    if told == LATEST:
        found = list(islice(client.list(), 1))
    else:
        try:
            return client.get(told)
        except NotFoundError:
            found = list(islice((job for job in client.list() if job.id.startswith(told)), 2))
    if len(found) == 1:
        return found[0]
    known = [job.id for job in found or islice(client.list(), 5)]
    if not known:
        raise SpecError("the service has no jobs: submit one with `dse submit SPEC`")
    raise UnknownNameError("job", told, [LATEST, *known])


def _act(told: str, server: str | None, action: Callable[[Job], Job]) -> None:
    with Client(server) as client:
        job = action(find_job(client, told))
    asked = ""
    if job.cancel_requested:
        asked = "; it ends within seconds"
    elif job.pause_requested:
        asked = "; it pauses within seconds"
    out.print(f"job {job.id} is {job.state}{asked}", markup=False)


def _say(event: Event) -> None:
    facts = ", ".join(f"{name} {_told(value)}" for name, value in event.data.items())
    err.print(f"{event.at:%H:%M:%S} {event.kind}: {facts}", markup=False)


def _told(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _items(shown: Front) -> list[dict[str, Any]]:  # JSON data, as REST has it
    return [evaluation.model_dump(mode="json", exclude_unset=True) for evaluation in shown]


def _cells(job: Job) -> tuple[str, ...]:
    return (
        job.id,
        job.name,
        job.workload,
        job.state,
        f"{job.generation + 1} of {job.generations}",
        str(job.front_size),
        figure(job.hypervolume),
        f"{job.created_at:%Y-%m-%d %H:%M}",
    )
