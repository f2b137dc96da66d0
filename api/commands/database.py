"""`dse db`: the database itself."""

import typer

from api.console import out
from api.settings import read_settings
from storage.engine import make_engine
from storage.engine import upgrade as upgrade_schema

database = typer.Typer(no_args_is_help=True, help="Look after the database.")


@database.callback()
def _group() -> None:
    """Look after the database."""


@database.command()
def upgrade() -> None:
    """Bring the database's tables up to this version; safe to repeat.

    \b
    dse db upgrade
    """
    settings = read_settings()
    engine = make_engine(settings.database_url)
    upgrade_schema(engine)
    out.print(f"{engine.url.render_as_string(hide_password=True)} is up to date", markup=False)
