"""Beacons of a job, and their weights."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response

from api.deps import IfNoneMatch, JobId, ServicesDep, names_etag
from api.documents import beacon_item
from api.errors import Code, Refusal
from api.views import BeaconView, Page
from evaluators.data.vault import Vault
from storage.beacons import find_beacon, list_beacons
from storage.engine import reading
from storage.repositories import Jobs

router = APIRouter(prefix="/v1/jobs/{job_id}/beacons", tags=["results"])

WEIGHTS_TYPE: Final = "application/octet-stream"
_ETAG: Final = {"schema": {"type": "string"}, "description": "SHA-256 of the file"}
_FILE: Final[dict[str, Any]] = {
    "description": "The weights",
    "content": {WEIGHTS_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    "headers": {"ETag": _ETAG},
}


@router.get(
    "",
    operation_id="listBeacons",
    summary="List the beacons by number; never in parts",
    responses={404: {"description": "No such job"}},
)
def list_all(services: ServicesDep, job_id: JobId) -> Page[BeaconView]:
    with reading(services.engine) as connection:
        Jobs(connection).latest_seq(job_id)
        found = list_beacons(connection, job_id)
    return Page(items=[BeaconView(**beacon_item(b), seconds=b.seconds) for b in found])


@router.get(
    "/{number}/weights",
    operation_id="getBeaconWeights",
    summary="Get the weights of a beacon as a safetensors file",
    responses={
        200: _FILE,
        304: {"description": "It is as you know it"},
        404: {"description": "No such job or beacon, or its retraining failed"},
        410: {"description": "The file is missing or altered"},
    },
    response_class=Response,
)
def get_weights(
    services: ServicesDep,
    job_id: JobId,
    number: Annotated[int, Path(ge=1, description="of the beacon")],
    if_none_match: IfNoneMatch = None,
) -> Response:
    with reading(services.engine) as connection:
        Jobs(connection).latest_seq(job_id)
        beacon = find_beacon(connection, job_id, number)
    if beacon.digest is None:
        raise Refusal(Code.NOT_FOUND, f"beacon {number} has no weights: {beacon.reason}")
    # Read whole and checked before the first byte leaves: a file may be altered at any time.
    weights = Vault(services.settings.places.beacons).read(beacon.digest)
    tag = f'"{beacon.digest}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if names_etag(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    name = f"beacon-{number}-{beacon.digest[:10]}.safetensors"
    headers |= {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(weights, media_type=WEIGHTS_TYPE, headers=headers)
