"""/v1/ledger and /v1/keyring."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.fields import Limit
from api.ledger import service
from api.ledger.schemas import CosignedIn, EntriesOut, HeadOut, Heads, LogOut, NextHead, WitnessIn, WitnessOut

router = APIRouter(prefix="/v1", tags=["ledger"])
reader = [Depends(permits(Action.LEDGER_READ))]
Witness = Annotated[Caller, Depends(permits(Action.LEDGER_WITNESS))]
Size = Annotated[int, Query(ge=0, lt=2**53)]


@router.get("/keyring", dependencies=[Depends(permits(Action.PUBLIC))], response_model=list[dict[str, Any]])
def keyring(control: ControlDep) -> Response:
    """The platform's keys over time, as signed statements (canonical JSON). Compare its first key by other means."""
    return Response(control.keyring.to_json(), media_type="application/json")


@router.get("/ledger", dependencies=reader)
def about(control: ControlDep) -> LogOut:
    """The log, its newest signed head and its witnesses."""
    return service.about(control)


@router.get("/ledger/heads", dependencies=reader)
def heads(control: ControlDep, after: Annotated[int, Query(ge=-1, lt=2**53)] = -1, limit: Limit = 100) -> Heads:
    """Signed heads after number `after`, in order."""
    return service.heads(control, after, limit)


@router.get("/ledger/heads/latest", dependencies=reader)
def latest(control: ControlDep, size: Size = 0) -> NextHead:
    """The newest head, with the path that shows that it extends the log of `size` entries."""
    return service.latest(control, size)


@router.get("/ledger/entries", dependencies=reader)
def entries(control: ControlDep, start: Size = 0, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000) -> EntriesOut:
    """Entries from position `start`. They hold salted hashes and no business data."""
    return service.entries(control, start, limit)


@router.get("/ledger/entries/{index}/proof", dependencies=reader)
def inclusion(control: ControlDep, index: Annotated[int, Path(ge=0, lt=2**53)]) -> dict[str, Any]:
    """The proof that an entry is in the log (`consent.ledger.check_inclusion`)."""
    return service.inclusion(control, index)


@router.get("/ledger/consistency", dependencies=reader)
def consistency(control: ControlDep, old: Size, new: Size) -> dict[str, Any]:
    """The proof that the head over `new` entries extends the head over `old` (`consent.ledger.check_consistency`)."""
    return service.consistency(control, old, new)


@router.put("/ledger/witness")
def register(control: ControlDep, caller: Witness, body: WitnessIn) -> WitnessOut:
    """A witness registers its public key, once; its account's name is the name it signs in."""
    return service.register_witness(control, caller, body)


@router.post("/ledger/cosigned")
def cosign(control: ControlDep, caller: Witness, body: CosignedIn) -> HeadOut:
    """A witness hands in a head that it cosigned. A head that this log never kept is refused as another history."""
    return service.cosign(control, caller, body)
