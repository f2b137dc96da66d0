"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

Plugins = Annotated[
    list[Path],
    typer.Option("--plugin", help="a Python file that registers workloads; may be repeated"),
]
