"""Which version of each platform a job began on."""

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Engine, bindparam, select

from dse.errors import DriftError
from storage.leases import Lease, fence, fenced, renew
from storage.tables import JobRow

_STORED = select(JobRow.platforms).where(JobRow.id == bindparam("job"))
_KEEP = fenced().values(
    platforms=bindparam("digests"), version=JobRow.version + 1, updated_at=bindparam("at")
)


def keep_platforms(engine: Engine, lease: Lease, digests: Mapping[str, str]) -> None:
    """Store the digest of each platform of a job, by name, the first time.

    Raises:
        DriftError: the job began on another version of one.
        FencedOutError: the job is another's.
    """
    with engine.begin() as connection:
        renew(connection, lease)
        stored = connection.scalar(_STORED, {"job": lease.job_id})
        if stored is None:
            values = {"digests": dict(digests), "at": datetime.now(UTC)}
            connection.execute(_KEEP, fence(lease) | values)
            return
    for name, digest in digests.items():
        if stored.get(name) != digest:
            raise DriftError.other_platform(name)
