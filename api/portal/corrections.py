"""Pages of corrections (R13): what institutions say is out of date, the clock of working days, and the answer.

Handlers read the request and call `api.enterprises.upkeep`, which decides; what is about another enterprise is not
found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from api.control import Control, ControlDep
from api.enterprises import upkeep
from api.enterprises.schemas import AnswerIn, CorrectionOut
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.errors import NotFound
from api.portal import financing_words, forms
from api.portal.access import Decider, Viewer, form
from api.portal.reading import institution_names
from api.portal.rendering import language_of, page, redirect

router = APIRouter(prefix="/corrections")
MOST = 2000  # characters of an answer
LISTED = 500
CorrectionName = Annotated[str, Path(pattern=r"^ec-[0-9a-f]{12}$")]


def waiting(control: Control, uscc: str) -> list[CorrectionOut]:
    """What the enterprise has to correct, the next due first."""
    return [row for row in upkeep.of_enterprise(control, uscc, LISTED).items if row.state == "prompted"]


def until(control: Control, request: Request) -> Callable[[CorrectionOut], str]:
    """How long the enterprise has, in the visitor's language."""
    now, language = control.db.clock(), language_of(request)
    return lambda row: financing_words.until(row.due_at, now, language)


def _shared(who: Visitor, control: Control, request: Request) -> dict[str, Any]:
    return {
        "money": financing_words,
        "names": institution_names(control),
        "may": Right.DECIDE in who.rights,
        "until": until(control, request),
        "days": control.settings.correction_days,
    }


@router.get("")
def corrections_page(who: Viewer, control: ControlDep, request: Request) -> Response:
    rows = upkeep.of_enterprise(control, who.uscc, LISTED).items
    open_ones = [row for row in rows if row.state == "prompted"]
    others = sorted((row for row in rows if row.state != "prompted"), key=lambda row: row.prompted_at, reverse=True)
    return page(request, "corrections.html", rows=[*open_ones, *others], **_shared(who, control, request))


@router.get("/{correction_id}")
def correction_page(who: Viewer, control: ControlDep, request: Request, correction_id: CorrectionName) -> Response:
    return _correction(who, control, request, correction_id)


def _correction(
    who: Visitor, control: Control, request: Request, correction_id: str, *, unsaid: bool = False
) -> Response:
    rows = upkeep.of_enterprise(control, who.uscc, LISTED).items
    row = next((one for one in rows if one.id == correction_id), None)
    if row is None:
        raise NotFound("prompt for correction", "更正提示", correction_id)
    return page(
        request, "correction.html", 422 if unsaid else 200, row=row, unsaid=unsaid, most=MOST,
        **_shared(who, control, request),
    )  # fmt: skip


@router.post("/{correction_id}")
async def answer(who: Decider, control: ControlDep, request: Request, correction_id: CorrectionName) -> Response:
    text = forms.prose((await form(request)).get("answer", ""))
    return await run_in_threadpool(_answer, who, control, request, correction_id, text)


def _answer(who: Visitor, control: Control, request: Request, correction_id: str, text: str) -> Response:
    body, _ = forms.read(AnswerIn, {"answer": text})
    if body is None:
        return _correction(who, control, request, correction_id, unsaid=True)
    upkeep.correct(control, who, correction_id, body.answer)
    return redirect(f"/portal/corrections/{correction_id}")
