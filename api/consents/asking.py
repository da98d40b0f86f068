"""Requests as banks make and follow them: one, or a file of many with an answer for each line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from api.auth import Caller, Role
from api.consents import requests
from api.consents.requests import ConsentRequest
from api.consents.schemas import (
    AskedLine,
    LineError,
    RequestCounts,
    RequestFile,
    RequestIn,
    RequestOut,
    RequestPage,
    StateCount,
)
from api.control import Control
from api.errors import ApiError, Invalid, NotFound
from consent.artefact import MalformedDocument
from consent.errors import Refused
from consent.policy import Denied
from consent.times import stamp

MAX_LINES = 10_000
CSV, NDJSON = "text/csv", "application/x-ndjson"
# a file of many names no terms of its own: each purpose's template does
_COLUMNS = ("enterprise", "provider", "purpose", "valid_days", "reason", "reference", "supersedes", "persons")


def ask(control: Control, caller: Caller, body: RequestIn) -> RequestOut:
    """Raises Denied, MalformedDocument, NotFound or Conflict."""
    now = control.db.clock()
    name = requests.ask(
        control,
        caller,
        enterprise=body.enterprise,
        provider=body.provider,
        purpose=body.purpose,
        valid_from=stamp(now),
        valid_until=_until(now, body),
        terms=body.terms.model_dump(exclude_none=True) if body.terms is not None else None,
        roles=body.persons,
        supersedes=body.supersedes,
        reason=body.reason,
        reference=body.reference,
    )
    return get(control, caller, name)


def _until(now: datetime, body: RequestIn) -> str:
    """A term of days ends with a day: asked again on the same day it is the same term."""
    if body.valid_until is not None:
        return stamp(body.valid_until)
    assert body.valid_days is not None
    return stamp((now + timedelta(days=body.valid_days)).replace(hour=0, minute=0, second=0))


def _lines(kind: str, raw: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, fields). Raises Invalid for what is no such file at all."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"not UTF-8: byte {error.start}", f"不是 UTF-8 编码：第 {error.start} 字节") from error
    if kind == NDJSON:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield number, {"line": line}
        return
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = reader.fieldnames or []
    if unknown := [name for name in names if name not in _COLUMNS]:
        listed = ", ".join(_COLUMNS)
        raise Invalid(
            f"line 1: column {unknown[0]!r} is not known; known are {listed}",
            f"第 1 行：未知列 {unknown[0]!r}，可用列为 {listed}",
            code="column_unknown",
        )
    if missing := [name for name in _COLUMNS[:4] if name not in names]:
        raise Invalid(f"line 1: column {missing[0]} is missing", f"第 1 行：缺少列 {missing[0]}", code="column_absent")
    for row in reader:
        yield reader.line_num, {name: value for name, value in row.items() if name is not None and value}


def _parsed(fields: dict[str, Any]) -> RequestIn:
    if "line" not in fields:
        roles = {"persons": fields["persons"].split()} if "persons" in fields else {}
        return RequestIn.model_validate({**fields, **roles}, strict=False)
    try:
        value = json.loads(fields["line"])
    except (ValueError, RecursionError) as error:
        raise Invalid(f"not a JSON object: {error}", "不是有效的 JSON 对象", code="not_json") from error
    return RequestIn.model_validate(value)


def ask_many(control: Control, caller: Caller, kind: str, raw: bytes) -> RequestFile:
    """Each line is a request of its own: good ones are made, bad ones named. Sent again, nothing is made twice.

    Raises Invalid for a file that is neither CSV nor NDJSON, or is too long.
    """
    if kind not in (CSV, NDJSON):
        raise Invalid(f"Content-Type: {CSV} or {NDJSON} is needed", f"Content-Type 须为 {CSV} 或 {NDJSON}")
    result = RequestFile()
    for count, (number, fields) in enumerate(_lines(kind, raw), start=1):
        if count > MAX_LINES:
            _bad(result, number, "too_many_lines", f"a file takes {MAX_LINES} lines: send the rest in another",
                 f"一个文件最多 {MAX_LINES} 行：其余请另行提交")  # fmt: skip
            break
        try:
            made = ask(control, caller, _parsed(fields))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            _bad(result, number, "invalid_request", f"{where}: {first['msg']}", f"{where}：{first['msg']}")
        except (ApiError, Denied, Refused, MalformedDocument) as error:
            _bad(result, number, error.code, error.message, error.message_zh)
        else:
            result.asked += 1
            result.items.append(AskedLine(line=number, consent_id=made.consent_id, state=made.state))
    return result


def _bad(result: RequestFile, number: int, code: str, message: str, message_zh: str) -> None:
    result.failed += 1
    result.errors.append(LineError(line=number, code=code, message=message, message_zh=message_zh))


def cancel(control: Control, caller: Caller, consent_id: str, reason: str) -> RequestOut:
    """Raises NotFound or IllegalTransition."""
    requests.cancel(control, caller, consent_id, reason)
    return get(control, caller, consent_id)


# ---- following


def _scope(caller: Caller) -> str | None:
    """None when the caller sees every institution's requests, else the one."""
    return None if Role.OPERATOR in caller.roles else caller.institution


def _view(row: ConsentRequest) -> RequestOut:
    return RequestOut(
        consent_id=row.consent_id,
        enterprise=row.enterprise,
        recipient=row.recipient,
        purpose=row.purpose,
        state=row.state,
        reference=row.reference,
        reason=row.reason,
        valid_until=row.valid_until,
        asked_at=row.asked_at,
        answer_by=row.answer_by,
        ended_at=row.ended_at,
        document=row.document,
    )


def get(control: Control, caller: Caller, consent_id: str) -> RequestOut:
    with control.db.read(caller) as session:
        row = session.get(ConsentRequest, consent_id)
        if row is None or _scope(caller) not in (None, row.recipient):
            raise NotFound("request", "授权请求", consent_id)
        return _view(row)


def page(
    control: Control,
    caller: Caller,
    enterprise: str | None,
    state: str | None,
    before: datetime | None,
    limit: int,
) -> RequestPage:
    with control.db.read(caller) as session:
        rows = requests.page(session, _scope(caller), enterprise=enterprise, state=state, before=before, limit=limit)
        return RequestPage(items=[_view(row) for row in rows])


def counts(control: Control, caller: Caller) -> RequestCounts:
    with control.db.read(caller) as session:
        rows = requests.counts(session, _scope(caller))
    total = dict.fromkeys(sorted(requests.REQUEST.states), 0)
    for row in rows:
        total[row.state] += row.n
    items = [StateCount(recipient=r.recipient, purpose=r.purpose, state=r.state, count=r.n) for r in rows]
    return RequestCounts(total=total, items=items)
