"""/v1/consents/{consent_id}/receipts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import Text
from api.receipts import service
from api.receipts.schemas import Receipts

router = APIRouter(prefix="/v1", tags=["receipts"])
Reader = Annotated[Caller, Depends(permits(Action.RECEIPT_READ))]


@router.get("/consents/{consent_id}/receipts")
def of_consent(control: ControlDep, caller: Reader, consent_id: Text) -> Receipts:
    """The receipts of a consent's documents with their proofs; a bank has those of consents given to itself."""
    return service.of_consent(control, service.viewer(caller), consent_id)


@router.get("/consents/{consent_id}/receipts/{seq}/file", response_model=dict[str, Any])
def file(control: ControlDep, caller: Reader, consent_id: Text, seq: Annotated[int, Path(ge=1, lt=2**53)]) -> Response:
    """One receipt with its proof, as the file that `creditlab verify` takes."""
    raw = service.file(control, service.viewer(caller), consent_id, seq)
    return Response(
        raw,
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="receipt-{seq}.json"'},
    )
