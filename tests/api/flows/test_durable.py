"""Flows in real processes: killed and gone on with, taken over by another worker, each part done once (R57, R58)."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from api.client import LabClient, LabError
from api.embedded import EmbeddedPostgres
from tests.support.control_plane import ControlPlane
from tests.support.papers import PAPERS

BANKS = 30
AT = "2026-11-03T02:00:00+08:00"


def within(seconds: float, check: object, what: str) -> object:
    deadline = time.monotonic() + seconds
    while True:
        found = check()  # type: ignore[operator]
        if found:
            return found
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def run_of(operator: LabClient, flow_id: str) -> dict | None:
    items = operator.call("GET", "/v1/flows", params={"limit": 50})["items"]
    return next((item for item in items if item["id"] == flow_id), None)


def ended(operator: LabClient, flow_id: str) -> dict | None:
    run = run_of(operator, flow_id)
    assert run is None or run["name"] == "monthly_reports"
    return run if run is not None and run["status"] in ("SUCCESS", "ERROR") else None


def start_reports(operator: LabClient, at: str = AT) -> str:
    return operator.call("POST", "/v1/flows/monthly_reports/runs", json={"reason": "the authority asks", "at": at})[
        "id"
    ]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "shared-postgres", {"fsync": "off"})
    server.start()
    yield server
    server.stop()


@pytest.fixture
def planes(tmp_path: Path, server: EmbeddedPostgres) -> Iterator[list[ControlPlane]]:
    """Two control planes with the same keys over one database; the second is not started."""
    address = {"DATABASE_URL": server.url.replace("+psycopg", ""), "CREDITLAB_WORKER_LOST_SECONDS": "4"}
    pair = [ControlPlane(tmp_path / name, environment=address) for name in ("one", "two")]
    try:
        with pair[0].start().operator as operator:
            for i in range(BANKS):
                operator.add_institution(f"bank-{i:02}", f"Bank {i}", "bank", PAPERS)
        with psycopg.connect(address["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("UPDATE institutions SET created_at = '2026-01-01'")
        for name in ("keys", "pki"):
            shutil.copytree(pair[0].home / name, pair[1].home / name)
        shutil.copy(pair[0].home / "operator.token", pair[1].home)
        yield pair
    finally:
        for plane in pair:
            if plane.process is not None and plane.process.poll() is None:
                plane.kill()


def reports(server: EmbeddedPostgres) -> dict[str, int]:
    """Reader → how many reports and how many events about them."""
    with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
        made = connection.execute("SELECT audience, count(*) FROM period_reports GROUP BY audience").fetchall()
        events = connection.execute(
            "SELECT institution, count(*) FROM institution_events WHERE kind = 'report' GROUP BY institution"
        ).fetchall()
        acts = connection.execute(
            "SELECT object_id, count(*) FROM audit WHERE action = 'report.make' GROUP BY object_id"
        ).fetchall()
    assert {name: n for name, n in made if name != "platform"} == dict(events)
    assert {name.partition("/")[2]: n for name, n in acts} == dict(made)
    return dict(made)


def test_a_killed_process_goes_on_where_it_was_and_repeats_nothing(
    planes: list[ControlPlane], server: EmbeddedPostgres
) -> None:
    plane = planes[0]
    with plane.operator as operator:
        flow_id = start_reports(operator)
    draw = random.Random(7)
    for _ in range(3):
        time.sleep(draw.uniform(0.05, 0.4))
        plane.kill()
        plane.start()
    with plane.operator as operator:
        run = within(30, lambda: ended(operator, flow_id), "the flow did not go on")
        assert run["status"] == "SUCCESS", run
        assert len(run["parts"]) == BANKS + 1
        assert start_reports(operator) == flow_id  # the same work of the same moment is the same flow
    assert set(reports(server).values()) == {1}
    assert len(reports(server)) == BANKS + 1


def test_another_worker_goes_on_with_what_a_lost_one_left(planes: list[ControlPlane], server: EmbeddedPostgres) -> None:
    first, second = planes
    second.start()
    with first.operator as operator:
        flow_id = start_reports(operator)
    time.sleep(0.15)
    first.kill()  # for good
    with second.operator as operator:
        before = run_of(operator, flow_id)
        run = within(60, lambda: ended(operator, flow_id), "nobody took the flow over")
        assert run["status"] == "SUCCESS"
        assert before is not None
    made = reports(server)
    assert len(made) == BANKS + 1
    assert set(made.values()) == {1}


def test_reports_of_a_month_are_the_readers_own(planes: list[ControlPlane]) -> None:
    """R57, R58: upward for all, back to each institution on its own, numbers only, unchanged once made."""
    plane = planes[0]
    with plane.operator as operator:
        flow_id = start_reports(
            operator, "2027-01-03T02:00:00+08:00"
        )  # the month in which the banks were opened… by audit
        within(30, lambda: ended(operator, flow_id), "no reports")
        listed = operator.call("GET", "/v1/reports")["items"]
        assert len(listed) == BANKS + 1
        upward = operator.call("GET", f"/v1/reports/{listed[0]['month']}/platform")
        assert {row["section"] for row in upward["body"]["rows"]} <= {"consents", "usage", "jobs", "releases", "acts"}
    risk = plane.account("risk-1", "bank-01", "risk")
    with risk:
        assert [item["audience"] for item in risk.call("GET", "/v1/reports")["items"]] == ["bank-01"]
        with pytest.raises(LabError, match="not_found"):
            risk.call("GET", f"/v1/reports/{listed[0]['month']}/bank-02")
        with pytest.raises(LabError):
            risk.call("POST", "/v1/flows/monthly_reports/runs", json={"reason": "me too"})
