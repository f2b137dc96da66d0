"""Add what the service needs: workers, repeatable requests, designs in flight, verdicts."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_OUTCOMES = ("OK", "FAILED", "TIMEOUT", "OOM", "LOST", "POISONED")


def upgrade() -> None:
    op.add_column("job", sa.Column("owner_boot", sa.Text(), nullable=True))
    op.create_index(
        "ix_job_ready",
        "job",
        [sa.text("priority DESC"), "id"],
        sqlite_where=sa.text("state = 'READY'"),
        postgresql_where=sa.text("state = 'READY'"),
    )
    op.create_index(
        "ix_job_leased",
        "job",
        ["id"],
        sqlite_where=sa.text("state = 'LEASED'"),
        postgresql_where=sa.text("state = 'LEASED'"),
    )
    op.create_index("ix_front_design_id", "front", ["design_id"])
    _widen_outcomes()
    op.create_table(
        "dispatch",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("alone", sa.Boolean(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_dispatch_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "key", name=op.f("pk_dispatch")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )
    op.create_table(
        "idempotency",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_idempotency_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_job_id"), "idempotency", ["job_id"])
    op.create_index(op.f("ix_idempotency_created_at"), "idempotency", ["created_at"])


def _widen_outcomes() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_verdict_outcome"), "verdict", type_="check")
        listed = ", ".join(f"'{outcome}'" for outcome in _OUTCOMES)
        op.create_check_constraint(op.f("ck_verdict_outcome"), "verdict", f"outcome IN ({listed})")
        return
    # SQLite cannot alter a constraint; nothing refers to this table, so it can be replaced.
    op.rename_table("verdict", "verdict_0001")
    op.create_table(
        "verdict",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                *_OUTCOMES, name="outcome", native_enum=False, create_constraint=True, length=16
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_verdict_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "key", name=op.f("pk_verdict")),
    )
    columns = "job_id, key, outcome, attempts, reason"
    op.execute(f"INSERT INTO verdict ({columns}) SELECT {columns} FROM verdict_0001")
    op.drop_table("verdict_0001")
