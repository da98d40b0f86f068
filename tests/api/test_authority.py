"""The exported matrix is the table that decides, and what it says of states is what the machines allow (R3, R47)."""

from __future__ import annotations

import csv
import io
import json

import httpx
import pytest
from typer.testing import CliRunner

from api import authority
from api.auth import PERMISSIONS, Action, Caller, Level, Resource, Right, Role, before, duties_of
from api.cli import app
from api.errors import Invalid
from api.institutions.service import HOMES, check_duties
from api.jobs.states import JOB
from api.releases.states import RELEASE
from tests.api.world import World


def test_the_matrix_says_what_the_table_decides() -> None:
    """R47."""
    rows = {row["action"]: row for row in authority.matrix()}
    assert rows.keys() == set(map(str, Action))
    for action in Action:
        told = set(rows[str(action)]["roles"])  # type: ignore[call-overload]
        for role in Role:
            assert (str(role) in told) == Caller("a", "a", "a", frozenset({role})).may(action)


def test_every_form_of_it_says_the_same(shared: World) -> None:
    """R29: roles and permissions of the back office, to be read and taken away."""
    parsed = list(csv.DictReader(io.StringIO(authority.as_csv())))
    for row, told in zip(authority.matrix(), parsed, strict=True):
        assert told["action"] == row["action"]
        assert [role for role in sorted(map(str, Role)) if told[role]] == row["roles"]
    assert authority.as_markdown().count("\n| `") == len(Action)
    assert json.loads(authority.as_json())["items"] == authority.matrix()
    token = {"Authorization": f"Bearer {shared.tokens['risk']}"}
    with httpx.Client(base_url=shared.url, headers=token) as client:
        assert client.get("/v1/authority").json()["items"] == authority.matrix()
        assert client.get("/v1/authority", params={"format": "csv"}).text == authority.as_csv()
        assert client.get("/v1/authority", params={"format": "markdown"}).text == authority.as_markdown()
    printed = CliRunner().invoke(app, ["authority", "--format", "csv"])
    assert printed.output == authority.as_csv()


def test_states_come_from_the_machines() -> None:
    assert PERMISSIONS[Action.JOB_APPROVE].states == {"proposed"}
    assert PERMISSIONS[Action.RELEASE_APPROVE].states == before(RELEASE, "approved") == {"reviewed"}
    assert before(JOB, "running") == {"approved"}
    for row in PERMISSIONS.values():
        assert row.states is None or row.states


def test_no_role_of_a_bank_approves_its_own_jobs_or_releases() -> None:
    """R3: least privilege."""
    for role, homes in HOMES.items():
        if homes <= {"bank", "guarantor"}:
            assert not duties_of({role}) & {"approve:job", "approve:release", "review:release", "approve:institution"}


def test_an_admin_grants_and_does_no_operators_work() -> None:
    """R3: the two levels share what is everybody's own, and nothing of the business."""
    business = {Resource.JOB, Resource.RELEASE, Resource.SCORE, Resource.CONSENT, Resource.REQUEST, Resource.USAGE}
    assert not {row.resource for row in PERMISSIONS.values() if Role.ADMIN in row.roles} & business
    granting = PERMISSIONS[Action.STAFF_CREATE].roles
    assert granting == {Role.ADMIN}


def test_every_role_has_a_home() -> None:
    assert set(HOMES) == set(Role)


@pytest.mark.parametrize("right", Right)
def test_a_duty_is_needed_for_each_right_apart(right: Right) -> None:
    """R47: having all rights but one on a resource does not give that one."""
    for action, row in PERMISSIONS.items():
        if row.right is not right or row.resource is Resource.SELF:
            continue
        for role in row.roles:
            duties = duties_of({role}) - {row.duty}
            assert not Caller("a", "a", "a", frozenset({role}), Level.OPERATOR, duties).may(action)


def test_duties_beyond_the_roles_are_refused_from_any_iterable() -> None:
    assert check_duties(iter([Role.RISK]), ["query:job", "entry:job", "query:job"]) == ["entry:job", "query:job"]
    with pytest.raises(Invalid, match="approve:job"):
        check_duties([Role.RISK], ["approve:job"])
