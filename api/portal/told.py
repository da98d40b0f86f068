"""What the enterprise is told: the list of its notices, its data in joint training, what a withdrawal meant.

The last two are the nodes' own answers, made now and kept nowhere. A question about uses is signed by the enterprise's
passkey. Where it has none the platform vouches for the visitor, which the page says, and the ledger holds the question.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.consents import requests
from api.control import Control, ControlDep
from api.enterprises import ceremonies
from api.enterprises.sessions import Visitor
from api.errors import Conflict, DeadlineExceeded
from api.portal import acts, words
from api.portal.access import Viewer, form
from api.portal.reading import address, institution_names, json_body, text_field
from api.portal.rendering import fragment, language_of, page
from api.recalls import service as recalls
from api.recalls.schemas import Impact
from api.usage import asking
from api.usage.schemas import NodeUses
from consent import node_log
from consent.purposes import Purpose

router = APIRouter()
PAGE = 50


@router.get("/notices")
def notices_page(
    who: Viewer,
    control: ControlDep,
    request: Request,
    before: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    with control.db.read(who) as session:
        rows = requests.latest_notices(session, who.uscc, before, PAGE + 1)
        more = rows[PAGE - 1].id if len(rows) > PAGE else None
        return page(request, "notices.html", rows=rows[:PAGE], more=more)


# ---- joint training


@router.get("/usage/training")
def training_page(who: Viewer, control: ControlDep, request: Request) -> Response:
    return page(request, "training.html", by_code=control.settings.portal_session_code, told=None)


@router.post("/usage/training/start")
def training_start(who: Viewer, control: ControlDep) -> Response:
    found = ceremonies.start_signing(control, who, acts.usage_question_of(control, who))
    return JSONResponse({"ceremony": found.ceremony, "options": found.options})


@router.post("/usage/training/finish")
async def training_finish(who: Viewer, control: ControlDep, request: Request) -> Response:
    body = await json_body(request)
    document = await run_in_threadpool(
        acts.finish_question, control, who, text_field(body, "ceremony"), body.get("credential")
    )
    told = await asking.ask(control, document, who.uscc)
    return await run_in_threadpool(_told, control, request, told)


@router.post("/usage/training/code")
async def training_by_code(who: Viewer, control: ControlDep, request: Request) -> Response:
    fields = await form(request)
    asked = await run_in_threadpool(acts.ask_by_code, control, who, text_field(fields, "code", 64), address(request))
    told = await asking.ask(control, asked.document, who.uscc, asked.position)
    values = {"by_code": True, **await run_in_threadpool(_values, control, told, asked)}
    return page(request, "training.html", **values)


def _told(control: Control, request: Request, told: NodeUses) -> Response:
    return JSONResponse({"html": fragment(request, "training_told.html", **_values(control, told))})


def _values(control: Control, told: NodeUses, asked: asking.Vouched | None = None) -> dict[str, Any]:
    """What the answers' part of the page needs; `asked` is the question where the platform vouched for it."""
    files = [file for one in told.items for file in one.files]
    held = base64.b64encode(node_log.bundle(files)).decode() if files else None
    return {
        "told": told,
        "names": institution_names(control),
        "used": words.used,
        "file": None if held is None else f"data:application/json;base64,{held}",
        "question": None if asked is None else asked.document["body"]["question_id"],
        "entry": None if asked is None else asked.position.index,
    }


# ---- what a withdrawal meant


@router.get("/consents/{seq}/impact")
async def impact_page(who: Viewer, control: ControlDep, request: Request, seq: int) -> Response:
    row = await run_in_threadpool(_withdrawn, control, who, seq)
    told: Impact | None
    try:
        told = await recalls.impact(control, who, row["consent_id"])
    except DeadlineExceeded:
        told = None  # the page says that not every node has answered
    return await run_in_threadpool(_impact, control, request, row, told)


def _withdrawn(control: Control, who: Visitor, seq: int) -> dict[str, Any]:
    """Raises NotFound for another's consent, Conflict for one that is not withdrawn or not for joint training."""
    with control.db.read(who) as session:
        row = acts.consent_at(session, who.uscc, seq)
        if row.state != "withdrawn" or row.purpose != Purpose.JOINT_TRAINING:
            raise Conflict(
                "which models rest on a consent is told for one to joint training that was withdrawn",
                "仅就已撤回的联合建模训练授权告知涉及哪些模型",
                code="impact_not_told",
            )
        return {"consent_id": row.consent_id, "recipient": row.recipient, "seq": seq, "withdrawn_at": row.withdrawn_at}


def _impact(control: Control, request: Request, row: dict[str, Any], told: Impact | None) -> Response:
    names, language = institution_names(control), language_of(request)
    states = [words.model_state(one.release_state, language) for one in told.items] if told is not None else []
    return page(request, "impact.html", row=row, told=told, states=states, names=names)
