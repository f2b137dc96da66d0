"""Add beacons: retrainings, what designs did on their weights."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("design", sa.Column("base_error", sa.Double(), nullable=True))
    op.add_column("design", sa.Column("beacon", sa.Integer(), nullable=True))
    op.add_column("design", sa.Column("beacon_distance", sa.Double(), nullable=True))
    op.add_column("design", sa.Column("beacon_error", sa.Double(), nullable=True))
    # Whatever was measured until now was measured on the base weights.
    op.execute(
        "UPDATE design SET base_error = (SELECT value FROM metric "
        "WHERE metric.design_id = design.id AND metric.name = 'error') WHERE origin = 'base'"
    )
    op.create_table(
        "retraining",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("design_hash", sa.Text(), nullable=False),
        sa.Column("choices", sa.JSON(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("best_step", sa.Integer(), nullable=False),
        sa.Column("curve", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["job.id"],
            name=op.f("fk_retraining_job_id_job"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_retraining")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "retraining_use",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_retraining_use_job_id_job"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["key"],
            ["retraining.key"],
            name=op.f("fk_retraining_use_key_retraining"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "key", name=op.f("pk_retraining_use")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "beacon",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("design_hash", sa.Text(), nullable=False),
        sa.Column("choices", sa.JSON(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_beacon_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_beacon")),
    )
