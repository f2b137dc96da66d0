"""The statements of a run, built once: a generation executes some hundreds of them."""

from sqlalchemy import BindParameter, bindparam, delete, exists, insert, or_, select

from dse.ports import Role
from storage.leases import fenced
from storage.tables import (
    DesignRow,
    EvaluationRow,
    EvaluationUseRow,
    GenerationRow,
    JobRow,
    VerdictRow,
)

_job: BindParameter[str] = bindparam("job")
_next_event = {"event_seq": JobRow.event_seq + 1, "version": JobRow.version + 1}

HOLD = fenced()
PROGRESS = fenced().values(crashes=0, error=None)
NUMBER = fenced().values(_next_event).returning(JobRow.event_seq)
LAY = fenced().values(
    float_metrics=bindparam("metrics"),
    reference_point=bindparam("point"),
    version=JobRow.version + 1,
    updated_at=bindparam("at"),
)
ADD_FLOAT_METRICS = fenced().values(
    float_metrics=bindparam("metrics"), version=JobRow.version + 1, updated_at=bindparam("at")
)
FINISH = (
    fenced()
    .where(JobRow.generation == bindparam("number") - 1)
    .values(event_seq=JobRow.event_seq + bindparam("events"), version=JobRow.version + 1)
    .values(generation=bindparam("number"), crashes=0, error=None, updated_at=bindparam("at"))
    .returning(JobRow.event_seq)
)

WORKLOAD = select(JobRow.workload).where(JobRow.id == _job)
FOUNDATION = select(JobRow.float_metrics, JobRow.reference_point).where(JobRow.id == _job)
FLAGS = select(JobRow.cancel_requested, JobRow.pause_requested).where(JobRow.id == _job)

LAST_GENERATION = (
    select(*GenerationRow.__table__.columns)
    .where(GenerationRow.job_id == _job)
    .order_by(GenerationRow.number.desc())
    .limit(1)
)
STATES = (
    select(GenerationRow.number, GenerationRow.format_version, GenerationRow.state)
    .where(GenerationRow.job_id == _job)
    .order_by(GenerationRow.number)
)
INSERT_GENERATION = insert(GenerationRow)

GENOMES = (
    select(DesignRow.genome)
    .join(JobRow, JobRow.id == DesignRow.job_id)
    .where(
        DesignRow.job_id == _job,
        DesignRow.role == Role.SEARCH,
        DesignRow.generation <= JobRow.generation,
    )
    .order_by(DesignRow.generation, DesignRow.position)
)
PLACED = (
    select(DesignRow.hash, DesignRow.id, DesignRow.evaluation_key)
    .where(
        DesignRow.job_id == _job,
        DesignRow.role == bindparam("role"),
        DesignRow.generation == bindparam("generation"),
    )
    .order_by(DesignRow.position)
)
DESIGN_IDS = select(DesignRow.hash, DesignRow.id).where(
    DesignRow.job_id == _job, DesignRow.role == bindparam("role")
)
INSERT_DESIGN = insert(DesignRow)
_keys: BindParameter[str] = bindparam("keys", expanding=True)
_judged = exists().where(VerdictRow.job_id == _job, VerdictRow.key == EvaluationRow.key)
RECALL = select(EvaluationRow.key, EvaluationRow.metrics).where(
    EvaluationRow.key.in_(_keys), ~_judged
)
_remeasured = exists().where(
    EvaluationUseRow.job_id == _job, EvaluationUseRow.key == EvaluationRow.key
)
RECALL_OWN = RECALL.where(or_(EvaluationRow.job_id == _job, _remeasured))
JUDGED = select(VerdictRow.key).where(VerdictRow.job_id == _job)
VERDICTS = select(VerdictRow.key, VerdictRow.outcome, VerdictRow.reason).where(
    VerdictRow.job_id == _job, VerdictRow.key.in_(_keys)
)
LIFT_VERDICT = delete(VerdictRow).where(
    VerdictRow.job_id == bindparam("job_id"), VerdictRow.key == bindparam("key")
)
