"""Security incidents: reported at once, seen by the operator at once, acknowledged and closed in time (R16)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from api import hub
from api.db import tenant
from api.incidents.states import INCIDENT, KINDS, SEVERITIES, Kind, Severity
from tests.api.test_jobs import refused
from tests.api.world import World, any_ca

HOUR = 3600


def finding(world: World, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "data",
        "severity": "serious",
        "noticed_at": world.clock().isoformat(),
        "title": "导出目录权限过宽",
        "text": "测试环境导出目录对全体可读，已收回",
        "measures": "已收回权限，正在核对访问记录",
        "contact": "王网管 010-88886666",
        **changes,
    }


def hours(row: dict[str, Any], since: str) -> float:
    until, start = (datetime.fromisoformat(row[name]) for name in ("due_at", since))
    return (until - start).total_seconds() / HOUR


def test_an_incident_is_reported_acknowledged_and_closed_and_each_step_is_on_record(world: World) -> None:
    """R16: who, what, when, how grave; the operator's judgement stands beside the reporter's."""
    row = world.risk.report_incident(finding(world))
    assert (row["institution"], row["reported_name"], row["state"]) == ("bank-a", "risk", "reported")
    assert (row["late"], row["overdue"], hours(row, "reported_at")) == (False, False, 1)
    assert [one["id"] for one in world.operator.incidents(pending=True)] == [row["id"]]

    taken = world.operator.acknowledge_incident(row["id"], "保全日志，四小时内上报", "major")
    assert (taken["state"], taken["severity"], taken["acknowledged_name"]) == ("acknowledged", "major", "operator")
    assert hours(taken, "acknowledged_at") == pytest.approx(30 * 24)
    closed = world.operator.close_incident(row["id"], "系误配置；已加入上线检查单")
    assert (closed["state"], closed["overdue"]) == ("closed", False)
    assert world.risk.incident(row["id"])["outcome"] == "系误配置；已加入上线检查单"
    assert list(world.operator.incidents(pending=True)) == []

    trail = world.operator.audit("incident", row["id"])
    assert [(one["actor_name"], one["action"]) for one in trail] == [
        ("risk", "incident.report"), ("operator", "incident.acknowledge"), ("operator", "incident.close"),
    ]  # fmt: skip
    assert trail[1]["detail"] == {"late": False, "severity": "major", "reported_severity": "serious"}
    told = [e["body"]["event"] for e in world.risk.consent_events()["events"] if e["body"]["kind"] == "incident"]
    assert [(one["incident_id"], one["state"]) for one in told] == [(row["id"], s) for s in ("acknowledged", "closed")]


def test_the_operator_is_told_while_it_waits(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R16: at once; also the log and the metrics say so, and neither what is in it."""
    monkeypatch.setattr(hub, "RELOOK_SECONDS", 60)  # it is woken, and does not look again by itself
    heard: list[list[Any]] = []
    waiting = threading.Thread(target=lambda: heard.append(world.operator.unacknowledged(20)))
    waiting.start()
    began = time.monotonic()
    while not world.control.hub._bells.get("incidents"):  # until it has found nothing and waits
        assert time.monotonic() < began + 10
        time.sleep(0.05)
    time.sleep(0.5)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "creditlab.incidents"):
        answer = world.lab.http.post("/v1/incidents", json=finding(world, kind="anomaly"))
    answer.raise_for_status()
    waiting.join(20)
    assert time.monotonic() - began < 12
    assert [one["id"] for one in heard[0]] == [answer.json()["id"]]
    assert answer.json()["institution"] == "lab"  # a node reports for its institution
    assert answer.json()["id"] in caplog.text
    assert "导出目录" not in caplog.text
    assert 'creditlab_incidents{state="reported"} 1.0' in world.operator.text("/metrics")


def test_what_is_not_taken_up_or_ended_in_time_is_overdue(world: World) -> None:
    row = world.risk.report_incident(finding(world))
    other = world.owner.report_incident(finding(world, title="另一起"))
    assert list(world.operator.incidents(overdue=True)) == []
    world.clock.advance(HOUR + 60)
    assert [one["id"] for one in world.operator.incidents(overdue=True)] == [row["id"], other["id"]]
    world.operator.acknowledge_incident(row["id"], "已接")
    assert [one["id"] for one in world.operator.incidents(overdue=True)] == [other["id"]]
    assert world.operator.audit("incident", row["id"])[-1]["detail"]["late"] is True
    world.clock.advance(31 * 24 * HOUR)
    assert {one["id"] for one in world.operator.incidents(overdue=True)} == {row["id"], other["id"]}
    world.operator.close_incident(row["id"], "已整改")
    assert world.operator.audit("incident", row["id"])[-1]["detail"]["late"] is True


def test_a_report_that_took_its_time_is_marked_late(world: World) -> None:
    """R16: noticed and reported are two moments; the distance is what is looked at."""
    ago = lambda **by: (world.clock() - timedelta(**by)).isoformat()  # noqa: E731
    assert world.risk.report_incident(finding(world, noticed_at=ago(minutes=50)))["late"] is False
    assert world.risk.report_incident(finding(world, noticed_at=ago(hours=2)))["late"] is True
    early = refused(world.risk.report_incident, finding(world, noticed_at=ago(hours=-1)))
    assert (early.status, early.code) == (409, "not_yet")


@pytest.mark.parametrize("found_by", ["supervision", "test", "drill"])
def test_what_supervision_and_tests_find_goes_the_same_way(shared: World, found_by: str) -> None:
    """R15, R16: supervision and tests are supported."""
    row = shared.owner.report_incident(finding(shared, kind="hazard", severity="general", found_by=found_by))
    assert shared.operator.incident(row["id"])["found_by"] == found_by


def test_each_institution_sees_its_own_and_changes_none(shared: World) -> None:
    """R15, R47: what one reports is confidential to it and the operator; also raw SQL finds nothing."""
    row = shared.risk.report_incident(finding(shared))
    assert refused(shared.owner.incident, row["id"]).status == 404
    assert row["id"] not in [one["id"] for one in shared.owner.incidents()]
    assert row["id"] in [one["id"] for one in shared.risk.incidents()]
    for act in (shared.risk.acknowledge_incident, shared.risk.close_incident):
        assert refused(act, row["id"], "x").code == "role_missing"
    with shared.db.read(tenant("lab")) as session:
        query = sa.text("SELECT count(*) FROM incidents WHERE institution = 'bank-a'")
        assert session.scalar(query) == 0
    for who, statement in (("bank-a", "UPDATE incidents SET text = ''"), ("bank-a", "DELETE FROM incidents")):
        with shared.db.unit(tenant(who)) as unit:
            assert unit.session.execute(sa.text(statement)).rowcount == 0  # type: ignore[attr-defined]


def test_nobody_closes_what_was_not_acknowledged(shared: World) -> None:
    row = shared.risk.report_incident(finding(shared))
    assert refused(shared.operator.close_incident, row["id"], "x").code == "illegal_transition"
    shared.operator.acknowledge_incident(row["id"], "已接")
    assert refused(shared.operator.acknowledge_incident, row["id"], "再接").code == "illegal_transition"
    assert refused(shared.operator.incident, "si-000000000000").status == 404


def test_lists_are_paged_newest_first_or_by_the_day(world: World) -> None:
    for number in range(5):
        world.risk.report_incident(finding(world, title=f"第 {number} 起"))
        world.clock.advance(60)
    titles = [one["title"] for one in world.operator.incidents()]
    assert titles == [f"第 {number} 起" for number in (4, 3, 2, 1, 0)]
    for wanted, expected in (({}, titles), ({"pending": True}, titles[::-1])):
        seen, cursor = [], None
        while True:
            page = world.operator.call(
                "GET", "/v1/incidents", params={"limit": 2, **wanted, **({"cursor": cursor} if cursor else {})}
            )
            seen += [one["title"] for one in page["items"]]
            if (cursor := page["next"]) is None:
                break
        assert seen == expected


def test_every_word_has_both_languages() -> None:
    assert set(KINDS) == set(Kind)
    assert set(SEVERITIES) == set(Severity)
    assert INCIDENT.final == {"closed"}
    assert all(not zh.isascii() and en.isascii() for zh, en in (*KINDS.values(), *SEVERITIES.values()))


@pytest.fixture
def line(shared: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `creditlab incident` as somebody."""
    from api.incidents.cli import app

    def run(who: str, *arguments: str) -> str:
        settings = {"URL": shared.url, "CA": str(any_ca()), "TOKEN": shared.tokens[who]}
        for name, value in settings.items():
            monkeypatch.setenv(f"CREDITLAB_{name}", value)
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    return run


def test_the_command_line_reports_watches_and_closes(shared: World, line: Callable[..., str]) -> None:
    told = line(
        "risk", "report", "--title", "异常登录", "--text", "深夜多次失败登录", "--contact", "王网管 010-88886666",
        "--kind", "anomaly", "--severity", "major",
    )  # fmt: skip
    name = told.split()[0]
    assert "重大 Major" in told
    assert name in line("operator", "watch", "--rounds", "1")
    assert "处置" not in line("operator", "list")
    assert "较大 Serious" in line("operator", "acknowledge", name, "--opinion", "核对来源", "--severity", "serious")
    assert name in line("operator", "list")
    line("operator", "close", name, "--outcome", "误报，已加白")
    assert name not in line("operator", "list")
    shown = line("risk", "show", name)
    assert "误报，已加白" in shown
    assert "王网管" in shown
