"""The portal's addresses: pages that show, and writes that a page of ours sends.

Handlers read the request, call a service or read tables, and choose a page; they decide nothing and never commit.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from api.consents import persons, receipts, requests
from api.consents import repository as consents
from api.control import Control, ControlDep
from api.enterprises import attempts, ceremonies, codes, own, repository, service, sessions
from api.enterprises.schemas import ConsentPersonIn
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.errors import Invalid, NotFound
from api.fields import UsageId
from api.portal import acts, arriving, assets, corrections, words
from api.portal.access import Enrolling, Guest, Keyholder, Manager, Person, Viewer, form
from api.portal.reading import address, agent, institution_names, json_body, text_field
from api.portal.rendering import drop_session, language_of, page, redirect, set_session
from api.receipts import service as receipt_service
from api.usage import repository as usage
from api.usage import service as usage_service
from consent import notice
from consent.times import stamp

router = APIRouter()
PAGE = 50
MAX_DOWNLOAD = 50_000
_YEAR = "public, max-age=31536000, immutable"


def _started(found: ceremonies.Started) -> Response:
    return JSONResponse({"ceremony": found.ceremony, "options": found.options})


# ---- files of our own


@router.get("/static/{name}")
def static(guest: Guest, name: str) -> Response:
    if name not in assets.FILES:
        raise NotFound("file", "文件", name)
    found = assets.asset(name)
    headers = {"cache-control": _YEAR, "etag": f'"{found.version}"'}
    return Response(found.body, media_type=found.media_type, headers=headers)


# ---- coming in


@router.get("/login")
def login_page(guest: Guest, control: ControlDep, request: Request) -> Response:
    return page(request, "login.html", by_code=control.settings.portal_session_code)


@router.post("/login/start")
def login_start(guest: Guest, control: ControlDep, request: Request) -> Response:
    return _started(ceremonies.start_login(control, address(request)))


@router.post("/login/finish")
async def login_finish(guest: Guest, control: ControlDep, request: Request) -> Response:
    found = await json_body(request)
    token = await run_in_threadpool(
        ceremonies.login, control, text_field(found, "ceremony"), found.get("credential"), agent(request)
    )
    answer = JSONResponse({"next": arriving.destination(request)})
    set_session(answer, token)
    return arriving.arrived(answer)


@router.get("/enrol")
def enrol_page(guest: Guest, request: Request) -> Response:
    return page(request, "enrol.html", use=codes.ENROL, error=None, uscc="")


@router.get("/login/code")
def code_page(guest: Guest, control: ControlDep, request: Request) -> Response:
    if not control.settings.portal_session_code:
        raise service.CodesNotAllowed
    return page(request, "enrol.html", use=codes.LOGIN, error=None, uscc="")


@router.post("/enrol")
async def enrol(guest: Guest, control: ControlDep, request: Request) -> Response:
    return await _enter(control, request, codes.ENROL, "/portal/enrol/passkey")


@router.post("/login/code")
async def login_by_code(guest: Guest, control: ControlDep, request: Request) -> Response:
    return arriving.arrived(await _enter(control, request, codes.LOGIN, arriving.destination(request)))


async def _enter(control: Control, request: Request, use: str, to: str) -> Response:
    fields = await form(request)
    uscc = fields.get("uscc", "").strip().upper()[:18]
    try:
        typed = text_field(fields, "code", 64)
        token = await run_in_threadpool(service.enter_code, control, uscc, typed, use, address(request), agent(request))
    except (codes.CodeRefused, attempts.TooManyAttempts, Invalid) as error:
        shown = codes.CodeRefused() if isinstance(error, Invalid) else error
        english = shown.message[:1].upper() + shown.message[1:]
        message = words.translator(language_of(request))(shown.message_zh, english)
        return page(request, "enrol.html", shown.status, use=use, error=message, uscc=uscc)
    answer = redirect(to)
    set_session(answer, token)
    return answer


@router.get("/enrol/passkey")
def enrol_passkey_page(who: Enrolling, request: Request) -> Response:
    return page(request, "enrol_passkey.html")


@router.post("/passkeys/start")
def passkey_start(who: Keyholder, control: ControlDep) -> Response:
    return _started(ceremonies.start_registration(control, who))


@router.post("/passkeys/finish")
async def passkey_finish(who: Keyholder, control: ControlDep, request: Request) -> Response:
    found = await json_body(request)
    token = await run_in_threadpool(
        ceremonies.register,
        control,
        who,
        text_field(found, "ceremony"),
        found.get("credential"),
        text_field(found, "label", 64),
        agent(request),
    )
    if token is None:
        return JSONResponse({"next": "/portal/people"})
    answer = JSONResponse({"next": arriving.destination(request)})
    set_session(answer, token)
    return arriving.arrived(answer)


@router.post("/logout")
def logout(who: Keyholder, control: ControlDep) -> Response:
    sessions.end(control, who)
    answer = redirect("/portal/login")
    drop_session(answer)
    return answer


# ---- requests


@router.get("/")
def tasks(who: Person, control: ControlDep, request: Request) -> Response:
    if Right.VIEW not in who.rights:
        return redirect("/portal/own")  # somebody who consents in person and acts for nobody else
    with control.db.read(who) as session:
        rows = requests.open_of(session, who.uscc, stamp(control.db.clock()))
        standing = [row for row in consents.of_enterprise(session, who.uscc, None) if row.state in ("active", "paused")]
    return page(
        request, "tasks.html", rows=rows, standing=len(standing), names=institution_names(control),
        corrections=corrections.waiting(control, who.uscc), until=corrections.until(control, request),
    )  # fmt: skip


@router.get("/requests/{consent_id}")
def request_page(who: Viewer, control: ControlDep, request: Request, consent_id: str) -> Response:
    return _request(who, control, request, consent_id, "request.html")


@router.get("/requests/{consent_id}/check")
def check_page(
    who: Viewer,
    control: ControlDep,
    request: Request,
    consent_id: str,
    answer: Annotated[str, Query(pattern="^(consent|refusal)?$")] = "",
) -> Response:
    if not answer:
        return _request(who, control, request, consent_id, "request.html", unanswered=True)
    return _request(who, control, request, consent_id, "check.html", answer=answer)


def _request(who: Visitor, control: Control, request: Request, consent_id: str, template: str, **more: Any) -> Response:
    with control.db.read(who) as session:
        row = requests.one(session, who.uscc, consent_id)
        if row.state != "requested" or row.valid_until <= stamp(control.db.clock()):
            return page(request, "answered.html", row=row)
        body = row.document["body"]
        values = {"unanswered": False, "names": institution_names(control), "right": Right.DECIDE in who.rights, **more}
        values["persons"] = persons.of_body(session, body)
        return page(request, template, row=row, body=body, notice=notice.render(body, language_of(request)), **values)


# ---- signing


def _wish(found: dict[str, Any], request: Request) -> acts.Wish:
    return acts.Wish(text_field(found, "act"), text_field(found, "consent"), language_of(request))


@router.post("/sign/start")
async def sign_start(who: Person, control: ControlDep, request: Request) -> Response:
    wish = _wish(await json_body(request), request)
    return _started(await run_in_threadpool(acts.start, control, who, wish))


@router.post("/sign/finish")
async def sign_finish(who: Person, control: ControlDep, request: Request) -> Response:
    found = await json_body(request)
    seq = await run_in_threadpool(acts.finish, control, who, text_field(found, "ceremony"), found.get("credential"))
    return JSONResponse({"next": f"/portal/receipts/{seq}"})


@router.post("/sign/code")
async def sign_by_code(who: Person, control: ControlDep, request: Request) -> Response:
    fields = await form(request)
    seq = await run_in_threadpool(
        acts.confirm_by_code, control, who, _wish(fields, request), text_field(fields, "code", 64), address(request)
    )
    return redirect(f"/portal/receipts/{seq}")


# ---- receipts and consents


@router.get("/receipts/{seq}")
def receipt_page(who: Viewer, control: ControlDep, request: Request, seq: int) -> Response:
    with control.db.read(who) as session:
        name = receipts.consent_of(session, who.uscc, seq)
        consent = acts.consent_of(session, who.uscc, name)
        entry = next(each for each in receipts.history(session, name) if each["seq"] == seq)
        return page(request, "receipt.html", consent=consent, entry=entry, names=institution_names(control))


@router.get("/receipts/{seq}/file")
def receipt_file(who: Viewer, control: ControlDep, seq: int) -> Response:
    with control.db.read(who) as session:
        name = receipts.consent_of(session, who.uscc, seq)
    raw = receipt_service.file(control, receipt_service.Viewer(enterprise=who.uscc), name, seq)
    return _download(raw, "application/json", f"receipt-{seq}.json")


def _download(raw: bytes, media_type: str, name: str) -> Response:
    return Response(raw, media_type=media_type, headers={"content-disposition": f'attachment; filename="{name}"'})


@router.get("/consents")
def consents_page(who: Viewer, control: ControlDep, request: Request) -> Response:
    with control.db.read(who) as session:
        rows = consents.of_enterprise(session, who.uscc, None)
        now = stamp(control.db.clock())
        return page(request, "consents.html", rows=list(reversed(rows)), now=now, names=institution_names(control))


@router.get("/consents/{seq}")
def consent_page(who: Viewer, control: ControlDep, request: Request, seq: int) -> Response:
    with control.db.read(who) as session:
        row = acts.consent_at(session, who.uscc, seq)
        history = receipts.history(session, row.consent_id)
        body = history[0]["body"]
        over = row.valid_until <= stamp(control.db.clock())
        return page(
            request,
            "consent.html",
            row=row,
            body=body,
            state="expired" if over and row.state in ("active", "paused") else row.state,
            history=history,
            notice=notice.render(body, language_of(request)),
            persons=persons.of_body(session, body),
            names=institution_names(control),
            rights={str(right) for right in who.rights},
        )


# ---- usage


@router.get("/usage")
def usage_page(
    who: Viewer,
    control: ControlDep,
    request: Request,
    page_number: Annotated[int, Query(alias="page", ge=1, le=1000)] = 1,
) -> Response:
    with control.db.read(who) as session:
        rows = usage.of_enterprise(session, who.uscc, PAGE + 1, (page_number - 1) * PAGE)
    template = "usage_rows.html" if request.headers.get("hx-request") == "true" else "usage.html"
    more = page_number + 1 if len(rows) > PAGE else None
    return page(request, template, rows=rows[:PAGE], more=more, names=institution_names(control), told=_told)


def _told(row: usage.Usage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.document)
    return found


@router.get("/usage/file")
def usage_file(who: Viewer, control: ControlDep, request: Request) -> Response:
    language = language_of(request)
    t, names = words.translator(language), institution_names(control)
    with control.db.read(who) as session:
        rows = usage.of_enterprise(session, who.uscc, MAX_DOWNLOAD, 0)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        [
            t("时间（UTC）", "time (UTC)"), t("机构", "institution"), t("使用人", "user"), t("原因", "reason"),
            t("内容", "content"), t("用途", "purpose"), t("授权编号", "consent"), t("结果", "outcome"),
            t("记录编号", "record"),
        ]
    )  # fmt: skip
    for row, outcome, _ in rows:
        cells = [
            stamp(row.at), names.get(row.institution, row.institution), row.user, row.reason, row.content, row.purpose,
            row.consent_id or "", outcome or "", row.id,
        ]  # fmt: skip
        writer.writerow([_inert(cell) for cell in cells])
    return _download(text.getvalue().encode("utf-8-sig"), "text/csv", "usage.csv")


@router.get("/usage/proofs")
def usage_proofs(who: Viewer, control: ControlDep) -> Response:
    """Every record with its ledger proof, one a line: each line is a file for `creditlab verify`."""
    headers = {"content-disposition": 'attachment; filename="usage-proofs.ndjson"'}
    return StreamingResponse(
        usage_service.download(control, who.uscc), media_type="application/x-ndjson", headers=headers
    )


@router.get("/usage/{usage_id}/record")
def usage_record(who: Viewer, control: ControlDep, usage_id: UsageId) -> Response:
    raw = usage_service.record_of(control, who.uscc, usage_id)
    return _download(raw, "application/json", f"{usage_id}.json")


def _inert(cell: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


# ---- people, devices, sessions


@router.get("/people")
def people_page(who: Viewer, control: ControlDep, request: Request) -> Response:
    return _people(who, control, request)


def _people(who: Visitor, control: Control, request: Request, **more: Any) -> Response:
    now = control.db.clock()
    idle = service.idle_since(control, now)
    manages = Right.MANAGE in who.rights
    with control.db.read(who) as session:
        people = repository.people(session, who.uscc)
        consenting = own.of_enterprise(session, who.uscc) if manages else []
        ids = [each.id for each in people if manages or each.id == who.account_id]
        values = {"new_code": None, "new_person": None, "expires_at": None, **more}
        return page(
            request,
            "people.html",
            people=people if manages else [each for each in people if each.id == who.account_id],
            keys=repository.passkeys(session, ids),
            live=repository.live_sessions(session, ids, now, idle),
            manages=manages,
            rights=[right for right in Right if right in who.rights],
            by_name={each.id: each.name for each in people},
            consenting=consenting,
            **values,
        )


@router.post("/people")
async def add_person(who: Manager, control: ControlDep, request: Request) -> Response:
    fields = await form(request)
    chosen = request.state.form_lists.get("rights", [])
    if not set(chosen) <= set(map(str, Right)):
        raise Invalid("a right is not known", "未知权限", code="rights_invalid")
    person, code, expires_at = await run_in_threadpool(
        service.add_person, control, who, text_field(fields, "name", 64), frozenset(Right(one) for one in chosen)
    )
    return await run_in_threadpool(
        _people, who, control, request, new_code=code, new_person=person.name, expires_at=expires_at
    )


@router.post("/people/consenting")
async def name_consenting(who: Manager, control: ControlDep, request: Request) -> Response:
    fields = await form(request)
    known = fields.get("person", "")
    try:
        wish = ConsentPersonIn(
            role=text_field(fields, "role", 64),
            person=known or None,
            name=None if known else text_field(fields, "name", 64),
        )
    except ValidationError as error:
        raise Invalid("this person is not known", "未知人员", code="field_invalid") from error
    made = await run_in_threadpool(own.name_by_owner, control, who, wish)
    return await run_in_threadpool(
        _people, who, control, request,
        new_code=made.code, new_person=fields.get("name", ""), expires_at=made.expires_at,
    )  # fmt: skip


@router.post("/people/{person_id}/remove")
def remove_person(who: Manager, control: ControlDep, person_id: str) -> Response:
    service.remove_person(control, who, person_id)
    return redirect("/portal/people")


@router.post("/passkeys/{credential_id}/remove")
def remove_passkey(who: Person, control: ControlDep, credential_id: str) -> Response:
    ceremonies.remove(control, who, credential_id)
    return redirect("/portal/people")


@router.post("/sessions/{session_id}/end")
def end_session(who: Person, control: ControlDep, session_id: str) -> Response:
    sessions.end(control, who, session_id)
    return redirect("/portal/people")
