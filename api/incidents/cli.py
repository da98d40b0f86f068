"""`creditlab incident`: report a security incident at once; the operator's desk watches, acknowledges and closes."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from api.client import LabClient
from api.client.answers import IncidentOut
from api.incidents.states import KINDS, SEVERITIES, FoundBy, Kind, Severity

app = typer.Typer(help="安全事件 · security incidents", no_args_is_help=True)
IncidentId = Annotated[str, typer.Argument(help="si-…")]
WAIT = 30  # seconds of one question of `watch`, while there is nothing
PAUSE = 2  # seconds between two, while something waits to be acknowledged


def _client(ctx: typer.Context) -> LabClient:
    return LabClient.from_settings(os.environ, ctx.find_root().obj)


def _hour(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M")


def _pair(words: Mapping[Any, tuple[str, str]], code: str) -> str:
    zh, en = words[code]
    return f"{zh} {en}"


def _line(row: IncidentOut) -> str:
    marks = [f"{row['state']}"]
    if row["late"]:
        marks.append("迟报 reported late")
    if row["overdue"]:
        marks.append("逾期 overdue")
    due = "" if row["state"] == "closed" else f"  期限 due {_hour(row['due_at'])}"
    return (
        f"{row['id']}  {_pair(SEVERITIES, row['severity'])}  {_pair(KINDS, row['kind'])}  {row['institution']}  "
        f"{'，'.join(marks)}{due}  {row['title']}"
    )


@app.command()
def report(
    ctx: typer.Context,
    title: Annotated[str, typer.Option(help="一句话 · in one line")],
    text: Annotated[str, typer.Option(help="发生了什么、影响什么 · what happened, what is affected")],
    contact: Annotated[str, typer.Option(help="联系人与电话 · who can be asked now")],
    kind: Annotated[Kind, typer.Option(help="GB/T 20986")] = Kind.OTHER,
    severity: Annotated[Severity, typer.Option()] = Severity.GENERAL,
    found_by: Annotated[FoundBy, typer.Option(help="发现途径 · how it came to light")] = FoundBy.OPERATION,
    noticed: Annotated[
        datetime | None,
        typer.Option(help="发现时间，默认现在 · when it was noticed; else now", formats=["%Y-%m-%dT%H:%M"]),
    ] = None,
    measures: Annotated[str | None, typer.Option(help="已采取的措施 · what was done so far")] = None,
) -> None:
    """立即报告，运营方即时获知 · report it at once; the operator is told."""
    at = datetime.now(UTC) if noticed is None else noticed.astimezone()
    body = {
        "kind": kind, "severity": severity, "found_by": found_by, "noticed_at": at.isoformat(), "title": title,
        "text": text, "measures": measures, "contact": contact,
    }  # fmt: skip
    with _client(ctx) as client:
        typer.echo(_line(client.report_incident(body)))


@app.command("list")
def list_all(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="含已办结的 · closed ones too")] = False,
    overdue: Annotated[bool, typer.Option("--overdue", help="仅逾期 · only overdue ones")] = False,
) -> None:
    """未办结的，最先到期的在前 · what is not closed, the next due first."""
    with _client(ctx) as client:
        for row in client.incidents(pending=not everything, overdue=overdue):
            typer.echo(_line(row))


@app.command()
def show(ctx: typer.Context, incident_id: IncidentId) -> None:
    """一起事件的全部内容 · all of one."""
    with _client(ctx) as client:
        row = client.incident(incident_id)
    typer.echo(_line(row))
    told = (
        ("发现 noticed", _hour(row["noticed_at"])),
        ("报告 reported", f"{_hour(row['reported_at'])} {row['reported_name']}"),
        ("联系 contact", row["contact"]),
        ("情况 what", row["text"]),
        ("措施 measures", row["measures"]),
        ("意见 opinion", row["opinion"]),
        ("结果 outcome", row["outcome"]),
    )
    for name, value in told:
        if value:
            typer.echo(f"  {name}: {value}")


@app.command()
def watch(ctx: typer.Context, rounds: Annotated[int, typer.Option(help="0：一直 · for ever", min=0)] = 0) -> None:
    """值班：有新报告即显示 · on duty: shows each new report as it comes."""
    seen: set[str] = set()
    with _client(ctx) as client:
        for asked in itertools.count(1):
            found = client.unacknowledged(WAIT)
            for row in found:
                if row["id"] not in seen:
                    typer.echo(_line(row))
            seen |= {row["id"] for row in found}
            if asked == rounds:
                return
            if found:  # with something on the list the answer does not wait
                time.sleep(PAUSE)


@app.command()
def acknowledge(
    ctx: typer.Context,
    incident_id: IncidentId,
    opinion: Annotated[str, typer.Option(help="处置意见 · what is to be done")],
    severity: Annotated[Severity | None, typer.Option(help="改定级别 · another severity")] = None,
) -> None:
    """确认并定级 · take it up."""
    with _client(ctx) as client:
        typer.echo(_line(client.acknowledge_incident(incident_id, opinion, severity)))


@app.command()
def close(
    ctx: typer.Context,
    incident_id: IncidentId,
    outcome: Annotated[str, typer.Option(help="原因、处置、整改 · cause, what was done, what changes")],
) -> None:
    """办结 · it is over."""
    with _client(ctx) as client:
        typer.echo(_line(client.close_incident(incident_id, outcome)))
