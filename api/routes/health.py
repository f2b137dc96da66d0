"""Whether the service is there, and whether it can serve."""

from fastapi import APIRouter

from api.deps import ServicesDep
from api.views import Health
from storage.revision import require_head

router = APIRouter(tags=["service"])


@router.get("/healthz", operation_id="getHealth", summary="Is the process alive?")
async def healthz() -> Health:
    return Health(status="ok")


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Can the database be reached, and has it this release's tables?",
    responses={503: {"description": "It cannot"}},
)
def readyz(services: ServicesDep) -> Health:
    require_head(services.engine)
    return Health(status="ok")
