"""What exists: workloads, platforms, knobs, metrics and workers."""

from fastapi import APIRouter

from api import listings
from api.deps import ServicesDep
from api.views import KnobView, MetricView, Page, PlatformView, WorkerView, WorkloadView
from storage.engine import reading
from storage.workers import list_workers

router = APIRouter(prefix="/v1", tags=["catalogue"])


@router.get("/workloads", operation_id="listWorkloads", summary="List the workloads")
def list_workloads(services: ServicesDep) -> Page[WorkloadView]:
    items = listings.workload_items(services.catalogue)
    return Page(items=[WorkloadView.model_validate(item) for item in items])


@router.get(
    "/platforms",
    operation_id="listPlatforms",
    summary="List the platforms with every constant and its source",
)
def list_platforms(services: ServicesDep) -> Page[PlatformView]:
    items = listings.platform_items(services.catalogue)
    return Page(items=[PlatformView.model_validate(item) for item in items])


@router.get("/knobs", operation_id="listKnobs", summary="List what a design may choose")
def list_knobs() -> Page[KnobView]:
    return Page(items=[KnobView.model_validate(item) for item in listings.knob_items()])


@router.get("/metrics", operation_id="listMetrics", summary="List what designs are judged by")
def list_metrics() -> Page[MetricView]:
    return Page(items=[MetricView.model_validate(item) for item in listings.metric_items()])


@router.get("/workers", operation_id="listWorkers", summary="List the workers")
def list_all_workers(services: ServicesDep) -> Page[WorkerView]:
    with reading(services.engine) as connection:
        workers = list_workers(connection)
    return Page(items=[WorkerView.model_validate(worker) for worker in workers])
