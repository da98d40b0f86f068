"""A bank proposes a project, the lab's data owner and the operator agree, and only then may jobs be proposed in it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from api import etags
from api.auth import CAPACITIES, Caller, capacity_for
from api.control import Control
from api.db import Unit
from api.errors import Conflict, Forbidden, Invalid, NotFound
from api.institutions import repository as institutions
from api.jobs import repository as jobs
from api.paging import Page, page
from api.projects import repository
from api.projects.repository import Project, ProjectDecision
from api.projects.schemas import (
    ProjectDecisionIn,
    ProjectDecisionOut,
    ProjectIn,
    ProjectOut,
    ProjectSummary,
)


def _everything(caller: Caller) -> bool:
    return caller.institution == "platform"


def _seen(caller: Caller, row: Project | None, project_id: str) -> Project:
    if row is None or not (_everything(caller) or caller.institution in (row.bank, row.lab)):
        raise NotFound("project", "项目", project_id)
    return row


def _view(session: Session, row: Project) -> ProjectOut:
    decisions = [ProjectDecisionOut.model_validate(one) for one in repository.decisions(session, row.id)]
    values = {name: getattr(row, name) for name in ProjectOut.model_fields if name not in ("decisions", "jobs")}
    return ProjectOut(**values, decisions=decisions, jobs=jobs.states_in_project(session, row.id))


def propose(control: Control, caller: Caller, body: ProjectIn) -> ProjectOut:
    """Raises Invalid for an unknown lab or a past end, Conflict for a taken id."""
    with control.db.unit(caller) as unit:
        lab = institutions.institution(unit.session, body.lab)
        if lab is None or lab.kind != "lab":
            raise Invalid(
                f"lab: {body.lab} is no lab on record", f"lab：{body.lab} 不是已登记的实验室", code="lab_unknown"
            )
        if body.valid_until <= unit.now:
            raise Invalid("valid_until: lies in the past", "valid_until：须为将来的时间", code="already_over")
        if body.agreement.signed_on > unit.now.date():
            raise Invalid(
                "agreement.signed_on: lies in the future", "agreement.signed_on：不能晚于今天", code="not_signed_yet"
            )
        if repository.project(unit.session, body.id) is not None:
            raise Conflict(f"project {body.id!r} exists already", f"项目 {body.id!r} 已存在", code="exists")
        row = Project(
            id=body.id,
            title=body.title,
            bank=caller.institution,
            lab=body.lab,
            purpose=body.purpose,
            modes=sorted(set(body.modes)),
            recipes=sorted(set(body.recipes)),
            label=body.label,
            agreement=body.agreement.model_dump(mode="json"),
            valid_until=body.valid_until,
            proposed_by=caller.account_id,
            proposed_at=unit.now,
        )
        unit.create(row, "project.propose", body.title, state="proposed", agreement=body.agreement.sha256)
        return _view(unit.session, row)


def decide(
    control: Control, caller: Caller, project_id: str, body: ProjectDecisionIn, if_match: str | None
) -> ProjectOut:
    """The data owner's or the operator's word; the second approval makes the project active, a rejection ends it."""
    with control.db.unit(caller) as unit:
        row = _seen(caller, repository.locked(unit.session, project_id), project_id)
        etags.check(if_match, row.version)
        capacity = _capacity(caller, row)
        if caller.account_id == row.proposed_by:
            raise Forbidden(
                "who proposed a project cannot agree to it", "项目提出人不能审批自己的项目", code="own_project"
            )
        given = {one.capacity for one in repository.decisions(unit.session, project_id)}
        if row.state != "proposed" or capacity in given:
            raise Conflict(
                f"project {project_id} is {row.state}, or the {capacity} has decided already",
                f"项目 {project_id} 状态为 {row.state}，或 {capacity} 已作出决定",
                code="already_decided",
            )
        decision = ProjectDecision(
            project_id=project_id,
            capacity=capacity,
            account_id=caller.account_id,
            account_name=caller.name,
            decision=body.decision,
            reason=body.reason,
            at=unit.now,
        )
        unit.create(decision, f"project.{body.decision}", body.reason, capacity=capacity)
        if body.decision == "reject":
            _end(unit, row, "rejected", body.reason)
        elif given | {capacity} >= CAPACITIES:
            unit.transition(row, "active", "project.activate", body.reason)
        return _view(unit.session, row)


def end(control: Control, caller: Caller, project_id: str, reason: str, if_match: str | None) -> ProjectOut:
    """A bank withdraws its proposal; any party or the operator closes an active project. Jobs under way go on."""
    with control.db.unit(caller) as unit:
        row = _seen(caller, repository.locked(unit.session, project_id), project_id)
        etags.check(if_match, row.version)
        if row.state == "proposed" and caller.institution != row.bank:
            raise Forbidden("a proposal is taken back by its bank", "只有提出的银行可以撤回", code="other_institution")
        _end(unit, row, "withdrawn" if row.state == "proposed" else "closed", reason)
        return _view(unit.session, row)


def _end(unit: Unit, row: Project, to: str, reason: str) -> None:
    unit.transition(row, to, f"project.{to}", reason)
    row.ended_at = unit.now
    unit.session.flush()


def _capacity(caller: Caller, row: Project) -> str:
    if (capacity := capacity_for(caller, row.lab)) is None:
        raise Forbidden(
            "a project is agreed to by the lab's data owner and the operator", "项目由实验室数据负责人与运营方审批",
            code="not_a_party",
        )  # fmt: skip
    return capacity


def get(control: Control, caller: Caller, project_id: str) -> ProjectOut:
    with control.db.read(caller) as session:
        return _view(session, _seen(caller, repository.project(session, project_id), project_id))


def search(control: Control, caller: Caller, state: str | None, cursor: str | None, limit: int) -> Page[ProjectSummary]:
    mine = None if _everything(caller) else caller.institution
    with control.db.read(caller) as session:
        query = repository.search(mine, state)
        return page(session, query, repository.NEWEST, cursor, limit, ProjectSummary.model_validate)


def check_covers(
    session: Session, project_id: str, *, bank: str, lab: str, purpose: str, mode: str, recipe: str, now: datetime
) -> None:
    """Raises unless the project is active and its agreement covers such a job of these parties."""
    row = repository.project(session, project_id)
    if row is None or row.bank != bank:  # another bank's project is not told of
        raise Invalid(
            f"project: {bank} has no project {project_id!r}: propose one first",
            f"project：{bank} 没有项目 {project_id!r}：请先提出项目",
            code="project_unknown",
        )
    if row.state != "active" or row.valid_until <= now:
        state = "over" if row.state == "active" else row.state
        raise Conflict(
            f"project {project_id!r} is {state}: a job needs one that both sides have agreed to",
            f"项目 {project_id!r} 状态为 {state}：作业须属于双方已同意的项目",
            code="project_not_active",
        )
    wanted = (("lab", lab, [row.lab]), ("purpose", purpose, [row.purpose]), ("mode", mode, row.modes),
              ("recipe", recipe, row.recipes))  # fmt: skip
    for what, value, agreed in wanted:
        if value not in agreed:
            raise Invalid(
                f"{what}: project {project_id!r} was agreed for {', '.join(agreed)}, not for {value}",
                f"{what}：项目 {project_id!r} 约定为 {'、'.join(agreed)}，不含 {value}",
                code="outside_project",
            )
