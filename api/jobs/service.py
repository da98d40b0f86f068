"""The life of a job: each public function is one transaction, holding the job's row against every other change.

The control plane decides who may begin what and records how it went; it never learns the cohort.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.auth import CAPACITIES, Caller, Role, capacity_for
from api.consents import repository as consents
from api.control import Control
from api.db import SYSTEM, Unit
from api.errors import Conflict, Forbidden, Invalid, NotFound
from api.institutions import repository as institutions
from api.jobs import causes, repository, shaping
from api.jobs.repository import Job, JobApproval, JobEvent, JobParty, JobReport, JobTemplate
from api.jobs.schemas import (
    ApprovalOut,
    Cause,
    CloneIn,
    Compared,
    Comparison,
    DecisionIn,
    Events,
    JobIn,
    JobOut,
    JobSummary,
    NodeEventIn,
    NodeEventsIn,
    NodeEventsOut,
    PartyOut,
    PhaseOut,
    ProgressOut,
    ReportIn,
    TemplateIn,
    TemplateOut,
    Templates,
)
from api.jobs.states import JOB, PARTY
from api.ledger import service as ledger
from api.nodes import repository as nodes
from api.paging import Page, rows_of
from api.projects import service as projects
from api.releases import blocks
from api.usage import repository as usage
from consent import policy
from consent.keys import SigningKey
from consent.ledger import Kind
from consent.policy import Facts
from consent.purposes import Mode, Purpose
from consent.templates import PUBLISHED
from consent.ticket import make_ticket, ticket_digest
from consent.times import stamp

_NOT_COMPARED = frozenset({"reason"})
_NOT_IN_TEMPLATES = frozenset({"reason", "project", "bank"})


def topic(job_id: str) -> str:
    """What followers of a job listen to."""
    return f"job:{job_id}"


# ---- finding


def visible(caller: Caller, job: Job) -> bool:
    """An operator sees every job, everybody else those of the own institution; the platform's reviewers all."""
    return (
        Role.OPERATOR in caller.roles
        or caller.institution in (job.bank, job.lab)
        or (Role.REVIEWER in caller.roles and caller.institution == "platform")
    )


def _seen(caller: Caller, job: Job | None, job_id: str) -> Job:
    if job is None or not visible(caller, job):
        raise NotFound("job", "作业", job_id)
    return job


# ---- proposing


def _party_node(unit: Unit, kind: str, wanted: str, dataset: str) -> tuple[nodes.Node, dict[str, Any]]:
    """The one node of institution (or of name) `wanted` that offers `dataset`, and that dataset's metadata."""
    candidates = [
        (row, entry)
        for row in nodes.nodes(unit.session)
        if row.role == kind and wanted in (row.institution, row.name)
        for entry in row.datasets
        if entry["name"] == dataset
    ]
    if not candidates:
        raise Invalid(
            f"{kind}: no registered node of {wanted!r} offers dataset {dataset!r}",
            f"{kind}：{wanted!r} 没有已注册的节点提供数据集 {dataset!r}",
            code="dataset_not_offered",
        )
    if len(candidates) > 1:
        names = ", ".join(row.name for row, _ in candidates)
        raise Invalid(
            f"{kind}: several nodes offer {dataset!r} ({names}): name one of them instead of the institution",
            f"{kind}：多个节点提供 {dataset!r}（{names}）：请指定其中一个节点",
            code="node_ambiguous",
        )
    return candidates[0]


def _columns(kind: str, entry: dict[str, Any], wanted: list[str] | None) -> list[dict[str, str]]:
    known = ("name", "kind", "unit")
    declared = {
        column["name"]: {key: column[key] for key in known if column.get(key) is not None}
        for column in entry["columns"]
    }
    if wanted is None:
        return list(declared.values())
    if unknown := [name for name in wanted if name not in declared]:
        raise Invalid(
            f"columns.{kind}: {unknown[0]!r} is not a column of {entry['name']!r}",
            f"columns.{kind}：{unknown[0]!r} 不是 {entry['name']!r} 的列",
            code="column_unknown",
        )
    if len(set(wanted)) != len(wanted):
        raise Invalid(f"columns.{kind}: a column is named twice", f"columns.{kind}：列名重复", code="column_repeated")
    return [declared[name] for name in wanted]


def _ticket_fields(unit: Unit, job_id: str, body: JobIn, issued_at: datetime, seconds: float) -> dict[str, Any]:
    """The ticket's body as it would be signed now. Raises Invalid when the nodes' metadata do not fit."""
    bank, bank_data = _party_node(unit, "bank", body.bank, body.dataset)
    lab, lab_data = _party_node(unit, "lab", body.lab, body.dataset)
    if bank_data["id"] != lab_data["id"]:
        raise Invalid(
            f"dataset {body.dataset!r}: the bank's id column is {bank_data['id']!r}, the lab's {lab_data['id']!r}",
            f"数据集 {body.dataset!r}：双方标识列不一致（{bank_data['id']!r} 与 {lab_data['id']!r}）",
            code="id_columns_differ",
        )
    if bank_data.get("as_of") != lab_data.get("as_of"):
        raise Invalid(
            f"dataset {body.dataset!r}: the bank's as-of column is {bank_data.get('as_of')!r}, the lab's "
            f"{lab_data.get('as_of')!r}; both dataset.toml files must name the same one, or neither",
            f"数据集 {body.dataset!r}：双方取数时点列不一致"
            f"（{bank_data.get('as_of')!r} 与 {lab_data.get('as_of')!r}）；双方 dataset.toml 须声明同一列，或都不声明",
            code="as_of_columns_differ",
        )
    if not bank_data.get("label"):
        raise Invalid(
            f"dataset {body.dataset!r}: the bank's node {bank.name} declares no label",
            f"数据集 {body.dataset!r}：银行节点 {bank.name} 未声明标签列",
            code="label_missing",
        )
    if body.mode == "zone" and not lab.zone_key:
        raise Invalid(
            f"the lab's node {lab.name} has registered no zone key", f"实验室节点 {lab.name} 未登记专区密钥",
            code="zone_key_missing",
        )  # fmt: skip
    return {
        "job_id": job_id,
        "project": body.project,
        "purpose": body.purpose,
        "mode": body.mode,
        "recipe": body.recipe.model_dump(),
        "dataset": {
            "name": body.dataset,
            "id": bank_data["id"],
            "as_of": bank_data.get("as_of"),
            "label": bank_data["label"],
            "split": bank_data.get("split") or {"hash_test_share": 0.3},
        },
        "parties": {
            "bank": {
                "institution": bank.institution,
                "node": bank.name,
                "columns": _columns("bank", bank_data, body.columns.bank),
            },
            "lab": {
                "institution": lab.institution,
                "node": lab.name,
                "relay": lab.relay,
                "zone_key": lab.zone_key,
                "columns": _columns("lab", lab_data, body.columns.lab),
            },
        },
        "evaluation": body.evaluation.model_dump(),
        "protocol": body.protocol.model_dump(by_alias=True),
        "leaks": body.leaks,
        "outputs": ["report", "model"],
        "deadlines": body.deadlines.model_dump(),
        "issued_at": stamp(issued_at),
        "expires_at": stamp(issued_at + timedelta(seconds=seconds)),
    }


def _propose(control: Control, unit: Unit, caller: Caller, body: JobIn, retry_of: Job | None) -> Job:
    job_id = f"j-{secrets.token_hex(6)}"
    fields = _ticket_fields(unit, job_id, body, unit.now, control.settings.ticket_seconds)
    bank, lab = fields["parties"]["bank"], fields["parties"]["lab"]
    policy.check(
        "job.propose",
        Facts(
            at=fields["issued_at"],
            institution=institutions.state(unit.session, bank["institution"]),
            purpose=body.purpose,
            mode=body.mode,
            recipe=body.recipe.name,
        ),
    )
    projects.check_covers(
        unit.session, body.project, bank=bank["institution"], lab=lab["institution"], purpose=body.purpose,
        mode=body.mode, recipe=body.recipe.name, now=unit.now,
    )  # fmt: skip
    if Role.OPERATOR not in caller.roles and bank["institution"] != caller.institution:
        raise Forbidden(
            f"a job is proposed by its own bank, not by {caller.institution}",
            f"作业只能由其所属银行提出，{caller.institution} 无权提出",
            code="other_institution",
        )
    make_ticket(SigningKey.generate(), **fields)  # only its form is of interest: signed by a key nobody trusts
    job = Job(
        id=job_id,
        project=body.project,
        dataset=body.dataset,
        bank=bank["institution"],
        bank_node=bank["node"],
        lab=lab["institution"],
        lab_node=lab["node"],
        mode=body.mode,
        recipe=body.recipe.model_dump(),
        proposal=body.model_dump(by_alias=True),
        retry_of=retry_of.id if retry_of else None,
        # an operator who runs a job again does not become its author
        requested_by=retry_of.requested_by if retry_of and Role.RISK not in caller.roles else caller.account_id,
        requested_at=unit.now,
    )
    unit.create(job, "job.propose", body.reason, state="proposed", retry_of=job.retry_of)
    _tell(unit, job, [_said(unit, "state", state="proposed")])
    return job


def propose(control: Control, caller: Caller, body: JobIn) -> JobOut:
    with control.db.unit(caller) as unit:
        return _view(unit.session, _propose(control, unit, caller, body, None))


def clone(control: Control, caller: Caller, job_id: str, body: CloneIn) -> JobOut:
    """A new proposal from an old one with changes, whatever became of the old one."""
    with control.db.unit(caller) as unit:
        old = _seen(caller, repository.job(unit.session, job_id), job_id)
        merged = shaping.merge_patch(old.proposal, body.changes)
        return _view(unit.session, _propose(control, unit, caller, _proposal(merged, body.reason), None))


def _proposal(values: Any, reason: str) -> JobIn:
    """Raises Invalid, naming the field, when what was merged is no proposal."""
    try:
        return JobIn.model_validate({**values, "reason": reason})
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(part) for part in first["loc"])
        raise Invalid(
            f"changes: {where}: {first['msg']}", f"changes：{where} 不符合要求", code="not_a_proposal"
        ) from error


def compare(control: Control, caller: Caller, job_ids: Sequence[str]) -> Comparison:
    """Jobs side by side: how each did, and wherein their proposals differ. Raises NotFound."""
    with control.db.read(caller) as session:
        rows = [_seen(caller, repository.job(session, job_id), job_id) for job_id in job_ids]
        names = institutions.names(session, {row.requested_by for row in rows})
        compared = []
        for row in rows:
            kept = repository.report(session, row.id)
            report = json.loads(kept.report) if kept is not None else None
            seconds = (row.ended_at - row.started_at).total_seconds() if row.ended_at and row.started_at else None
            compared.append(
                Compared(
                    job=JobSummary(**_summary(row, names)),
                    models=shaping.measures(report),
                    gain=shaping.gain(report),
                    egress=(report or {}).get("egress"),
                    seconds=seconds,
                )
            )
    return Comparison(jobs=compared, differences=shaping.differences([row.proposal for row in rows], _NOT_COMPARED))


# ---- templates


def add_template(control: Control, caller: Caller, body: TemplateIn) -> TemplateOut:
    """A bank's own template, or the platform's for everybody. Raises Invalid for a field that no proposal has."""
    if unknown := sorted(set(body.proposal) - (set(JobIn.model_fields) - _NOT_IN_TEMPLATES)):
        raise Invalid(
            f"proposal: {unknown[0]!r} is not a field that a template can set",
            f"proposal：模板不能设定 {unknown[0]!r}",
            code="field_unknown",
        )
    with control.db.unit(caller) as unit:
        if repository.template(unit.session, body.id) is not None:
            raise Conflict(f"template {body.id!r} exists already", f"模板 {body.id!r} 已存在", code="exists")
        row = JobTemplate(
            **body.model_dump(), institution=caller.institution, created_by=caller.account_id, created_at=unit.now
        )
        unit.create(row, "job_template.add", body.title)
        return TemplateOut.model_validate(row)


def retire_template(control: Control, caller: Caller, template_id: str, reason: str) -> TemplateOut:
    with control.db.unit(caller) as unit:
        row = repository.template(unit.session, template_id)
        if row is None or row.institution != caller.institution:
            raise NotFound("template", "模板", template_id)
        if row.retired_at is not None:
            raise Conflict(f"template {template_id} is retired", f"模板 {template_id} 已停用", code="already_retired")
        row.retired_at = unit.now
        unit.session.flush()
        unit.record("job_template.retire", row, reason)
        return TemplateOut.model_validate(row)


def templates(control: Control, caller: Caller) -> Templates:
    """The platform's and one's own."""
    own = None if Role.OPERATOR in caller.roles else ("platform", caller.institution)
    with control.db.read(caller) as session:
        return Templates(items=[TemplateOut.model_validate(row) for row in repository.templates(session, own)])


def propose_from(control: Control, caller: Caller, template_id: str, body: CloneIn) -> JobOut:
    """A proposal from a template and what it leaves open."""
    with control.db.unit(caller) as unit:
        row = repository.template(unit.session, template_id)
        if row is None or row.retired_at is not None or row.institution not in ("platform", caller.institution):
            raise NotFound("template", "模板", template_id)
        merged = shaping.merge_patch(row.proposal, body.changes)
        return _view(unit.session, _propose(control, unit, caller, _proposal(merged, body.reason), None))


def retry(control: Control, caller: Caller, job_id: str, reason: str) -> JobOut:
    """A new job from the same proposal, to be approved alike."""
    with control.db.unit(caller) as unit:
        old = _seen(caller, repository.locked(unit.session, job_id), job_id)
        if old.state not in JOB.final or old.state == "succeeded":
            raise Conflict(
                f"job {job_id} is {old.state}: only one that failed, was cancelled or stopped can be run again",
                f"作业 {job_id} 状态为 {old.state}：只有失败、取消或被停止的作业可以重新运行",
                code="not_retriable",
            )
        body = JobIn.model_validate({**old.proposal, "reason": reason})
        return _view(unit.session, _propose(control, unit, caller, body, old))


# ---- approving


def _capacity(caller: Caller, job: Job) -> str:
    if (capacity := capacity_for(caller, job.lab)) is None:
        raise NotFound("job", "作业", job.id)  # another lab's data owner does not learn that it exists
    return capacity


def decide(control: Control, caller: Caller, job_id: str, body: DecisionIn) -> JobOut:
    """The data owner's or the operator's word. The second approval signs the ticket; a rejection ends the job."""
    with control.db.unit(caller) as unit:
        job = repository.locked(unit.session, job_id)
        if job is None:
            raise NotFound("job", "作业", job_id)
        capacity = _capacity(caller, job)
        if job.state != "proposed":
            raise Conflict(
                f"job {job_id} is {job.state}: there is nothing to approve",
                f"作业 {job_id} 状态为 {job.state}：无需审批", code="illegal_transition",
            )  # fmt: skip
        given = {approval.capacity for approval in repository.approvals(unit.session, job_id)}
        if caller.account_id == job.requested_by:
            raise Forbidden("a job's author cannot approve it", "作业提出人不能审批自己的作业", code="own_job")
        if capacity in given:
            raise Conflict(f"the {capacity} has decided already", f"{capacity} 已作出决定", code="already_decided")
        approval = JobApproval(
            job_id=job_id,
            capacity=capacity,
            account_id=caller.account_id,
            account_name=caller.name,
            decision=body.decision,
            reason=body.reason,
            at=unit.now,
        )
        unit.create(approval, f"job.{body.decision}", body.reason, capacity=capacity)
        said = _said(unit, "log", message=f"{capacity}: {body.decision}", capacity=capacity, decision=body.decision)
        _tell(unit, job, [said])
        if body.decision == "reject":
            why = causes.cause(
                "rejected", f"rejected by the {capacity}: {body.reason}", f"{capacity} 驳回：{body.reason}"
            )
            _end(unit, job, "cancelled", why, "job.reject", body.reason)
        elif given | {capacity} >= CAPACITIES:
            _issue(control, unit, caller, job, body.reason)
        return _view(unit.session, job)


def _issue(control: Control, unit: Unit, caller: Caller, job: Job, reason: str) -> None:
    """Signs the ticket from what the nodes say of themselves now, and puts it before both."""
    body = JobIn.model_validate(job.proposal)
    fields = _ticket_fields(unit, job.id, body, unit.now, control.settings.ticket_seconds)
    bank, lab = fields["parties"]["bank"], fields["parties"]["lab"]
    projects.check_covers(
        unit.session, body.project, bank=bank["institution"], lab=lab["institution"], purpose=body.purpose,
        mode=body.mode, recipe=body.recipe.name, now=unit.now,
    )  # fmt: skip
    covered = consents.covered_count(
        unit.session, bank["institution"], lab["institution"], Purpose.JOINT_TRAINING, fields["issued_at"]
    )
    policy.check(
        "job.start",
        Facts(
            at=fields["issued_at"],
            institution=institutions.state(unit.session, bank["institution"]),
            purpose=body.purpose,
            mode=body.mode,
            recipe=body.recipe.name,
            valid_from=fields["issued_at"],
            valid_until=fields["expires_at"],
            cohort=covered,
        ),
    )
    ticket = make_ticket(control.key, **fields)
    job.ticket, job.ticket_sha256 = ticket, ticket_digest(ticket)
    job.bank_node, job.lab_node = bank["node"], lab["node"]
    job.approved_at = unit.now
    job.expires_at = unit.now + timedelta(seconds=control.settings.ticket_seconds)
    unit.transition(job, "approved", "job.approve", reason, ticket_sha256=job.ticket_sha256)
    ledger.append(unit, Kind.TICKET, ticket, of=("ticket", job.id))
    for party, side in (("bank", bank), ("lab", lab)):
        row = JobParty(job_id=job.id, party=party, institution=side["institution"], node=side["node"])
        unit.create(row, "job.assign", reason, state="pending")
        unit.notify(f"node:{side['node']}")
    usage.record(
        unit,
        account_id=job.requested_by,
        user=institutions.names(unit.session, {job.requested_by})[job.requested_by],
        institution=job.bank,
        reason=body.reason,
        use=Mode.JOINT_TRAINING,
        purpose=Purpose.JOINT_TRAINING,
        object_kind="job",
        object_id=job.id,
        data=PUBLISHED[Purpose.JOINT_TRAINING].data,  # who uses what of whom, the nodes' own records tell
        job_id=job.id,
    )
    _tell(unit, job, [_said(unit, "state", state="approved")])


# ---- events


def _said(unit: Unit, kind: str, at: datetime | None = None, **body: Any) -> dict[str, Any]:
    return {"at": at or unit.now, "party": None, "node": None, "kind": kind, "body": body}


def _tell(unit: Unit, job: Job, said: list[dict[str, Any]]) -> int:
    """Appends events under the job's lock and wakes its followers. Returns the last sequence number."""
    seq = repository.last_seq(unit.session, job.id)
    for item in said:
        seq += 1
        unit.session.add(JobEvent(job_id=job.id, seq=seq, received_at=unit.now, **item))
    unit.session.flush()
    unit.notify(topic(job.id))
    return seq


def node_events(control: Control, caller: Caller, job_id: str, body: NodeEventsIn) -> NodeEventsOut:
    """What a node says about its part: kept in order; states move the party and, through it, the job."""
    with control.db.unit(caller) as unit:
        nodes.heard(unit.session, caller.name, unit.now)
        job = repository.locked(unit.session, job_id)
        parties = repository.parties(unit.session, job_id) if job is not None else {}
        mine = next((party for party in parties.values() if party.node == caller.name), None)
        if job is None or mine is None:
            raise NotFound("job", "作业", job_id)
        for event in body.events:
            said = {
                "at": event.at or unit.now,
                "party": mine.party,
                "node": mine.node,
                "kind": event.kind,
                "body": event.model_dump(mode="json", exclude={"at", "kind"}, exclude_none=True),
            }
            _tell(unit, job, [said])
            _follow(control, unit, job, parties, mine, event)
        return NodeEventsOut(last_seq=repository.last_seq(unit.session, job_id), job_state=job.state)  # type: ignore[arg-type]


def _follow(
    control: Control, unit: Unit, job: Job, parties: dict[str, JobParty], mine: JobParty, event: NodeEventIn
) -> None:
    """Moves the party, then the job, as one event of the node says."""
    if mine.state in PARTY.final:
        return  # said again, or too late: it stays in the log, the end stands
    to = event.state if event.kind == "state" else "running"
    assert to is not None
    if mine.state == "pending" and to in {"running", "succeeded"} and event.kind != "log":
        mine.started_at = unit.now
        unit.transition(mine, "running", "job.party", f"node {mine.node} began")
        if job.state == "approved":
            job.started_at = unit.now
            unit.transition(job, "running", "job.start", f"node {mine.node} began")
    if event.kind != "state" or to == "running":
        return
    mine.code, mine.message, mine.message_zh = event.code, event.message, event.message_zh
    mine.ended_at = unit.now
    unit.transition(mine, to, "job.party", event.message or f"node {mine.node} reports {to}", code=event.code)
    _settle(control, unit, job, parties)


def _settle(control: Control, unit: Unit, job: Job, parties: dict[str, JobParty], patience: bool = True) -> None:
    """Ends the job when its parties' ends say so.

    A side that only lost its peer waits a moment for the peer's own cause (`patience`), so that the headline names
    what happened and not who noticed.
    """
    if job.state in JOB.final:
        return
    rows = list(parties.values())
    if all(row.state == "succeeded" for row in rows):
        unit.transition(job, "succeeded", "job.end", "both parties succeeded")
        _ended(unit, job, None)
        return
    bad = [row for row in rows if row.state in PARTY.final and row.state != "succeeded"]
    if not bad:
        return
    chosen = causes.first_cause(bad)
    still_open = [row for row in rows if row.state not in PARTY.final]
    if patience and causes.is_consequence(chosen) and still_open:
        if job.settle_at is None:
            job.settle_at = unit.now + timedelta(seconds=control.settings.settle_seconds)
            unit.session.flush()
            unit.record("job.settle", job, f"node {chosen.node} ended ({chosen.code}): the other side is asked why")
        return
    _end(unit, job, chosen.state, causes.of_party(chosen), "job.end", chosen.message or chosen.state)


def _end(unit: Unit, job: Job, state: str, why: dict[str, Any], action: str, reason: str) -> None:
    job.cause = why
    unit.transition(job, state, action, reason, code=why["code"])
    _ended(unit, job, why)


def _ended(unit: Unit, job: Job, why: dict[str, Any] | None) -> None:
    job.ended_at = unit.now
    unit.session.flush()
    _tell(unit, job, [_said(unit, "state", state=job.state, cause=why)])
    for node in (job.bank_node, job.lab_node):
        unit.notify(f"node:{node}")


def cancel(control: Control, caller: Caller, job_id: str, reason: str) -> JobOut:
    with control.db.unit(caller) as unit:
        job = _seen(caller, repository.locked(unit.session, job_id), job_id)
        why = causes.cause("cancelled", f"cancelled by {caller.name}: {reason}", f"由 {caller.name} 取消：{reason}")
        _end(unit, job, "cancelled", why, "job.cancel", reason)
        return _view(unit.session, job)


def stop_for_institution(
    unit: Unit, institution: str, code: str, message: str, message_zh: str, *, removed: bool
) -> list[str]:
    """Ends the open jobs of a sanctioned institution, its proposals too when it is removed (R17). Returns their ids."""
    ended = []
    for job_id in repository.open_of_institution(unit.session, institution):
        job = repository.locked(unit.session, job_id)
        if job is None or job.state in JOB.final or (job.state in JOB.initial and not removed):
            continue
        state = "cancelled" if job.state in JOB.initial else "stopped_by_consent"
        _end(unit, job, state, causes.cause(code, message, message_zh), "job.sanction", message)
        ended.append(job_id)
    return ended


def put_report(control: Control, caller: Caller, job_id: str, body: ReportIn) -> None:
    """Keeps the lab node's aggregate report. The same again is no news; another one is refused."""
    text = json.dumps(body.report, ensure_ascii=False, separators=(",", ":"))
    with control.db.unit(caller) as unit:
        nodes.heard(unit.session, caller.name, unit.now)
        job = repository.locked(unit.session, job_id)
        lab = repository.parties(unit.session, job_id).get("lab") if job is not None else None
        if job is None or lab is None or lab.node != caller.name:
            raise NotFound("job", "作业", job_id)
        known = repository.report(unit.session, job_id)
        if known is not None:
            if (known.report, known.model_sha256) != (text, body.model_sha256):
                raise Conflict(f"job {job_id} has its report already", f"作业 {job_id} 已有报告", code="exists")
            return
        if job.state not in {"running", "succeeded"}:
            raise Conflict(
                f"job {job_id} is {job.state}: it takes no report", f"作业 {job_id} 状态为 {job.state}，不接受报告",
                code="illegal_transition",
            )  # fmt: skip
        row = JobReport(
            job_id=job_id, report=text, model_sha256=body.model_sha256, node=caller.name, received_at=unit.now
        )
        unit.create(row, "job.report", "reported by the lab's node", model_sha256=body.model_sha256)
        _tell(unit, job, [_said(unit, "log", message="report received", model_sha256=body.model_sha256)])


# ---- the watchdog


def sweep(control: Control) -> int:
    """Ends every open job that no longer goes on by itself; returns how many. Safe in several processes at once."""
    ended = 0
    with control.db.read(SYSTEM) as session:
        open_jobs = list(repository.open_jobs(session))
    for job_id in open_jobs:
        with control.db.unit(SYSTEM) as unit:
            job = repository.locked(unit.session, job_id)
            if job is None or job.state in JOB.final or job.ticket is None:
                continue
            parties = repository.parties(unit.session, job_id)
            if job.settle_at is not None and unit.now >= job.settle_at:
                _settle(control, unit, job, parties, patience=False)
                ended += 1
                continue
            why = causes.verdict(
                job,
                parties,
                nodes.heard_at(unit.session, {party.node for party in parties.values()}),
                job.ticket["body"]["deadlines"],
                unit.now,
                since=control.started_at,
                lease=control.settings.lease_seconds,
                margin=control.settings.connect_margin_seconds,
            )
            if why is not None:
                _end(unit, job, "failed", why, "job.watchdog", why["message"])
                ended += 1
    return ended


# ---- views


def _summary(job: Job, names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": job.id,
        "project": job.project,
        "dataset": job.dataset,
        "bank": job.bank,
        "lab": job.lab,
        "mode": job.mode,
        "recipe": job.recipe,
        "state": job.state,
        "cause": Cause(**job.cause) if job.cause else None,
        "retry_of": job.retry_of,
        "requested_by": names.get(job.requested_by, job.requested_by),
        "requested_at": job.requested_at,
        "approved_at": job.approved_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def _number(body: dict[str, Any], name: str) -> float | None:
    value = body.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def phases_of(events: Sequence[JobEvent]) -> dict[str, list[PhaseOut]]:
    """Per party, each phase once, in order of its beginning, with the newest word on it."""
    out: dict[str, dict[str, PhaseOut]] = {}
    for event in events:
        name = str(event.body["phase"])
        out.setdefault(str(event.party), {})[name] = PhaseOut(
            phase=name,
            state=str(event.body["state"]),
            seconds=_number(event.body, "seconds"),
            cpu_seconds=_number(event.body, "cpu_seconds"),
            peak_rss_mb=_number(event.body, "peak_rss_mb"),
        )
    return {party: list(phases.values()) for party, phases in out.items()}


def _progress(event: JobEvent) -> ProgressOut:
    note = event.body.get("note")
    return ProgressOut(
        phase=event.body.get("phase"),
        done=_number(event.body, "done"),
        total=_number(event.body, "total"),
        note=note if isinstance(note, str) else None,
    )


def _view(session: Session, job: Job) -> JobOut:
    names = institutions.names(session, {job.requested_by})
    report = repository.report(session, job.id)
    return JobOut(
        **_summary(job, names),
        proposal=job.proposal,
        approvals=[ApprovalOut.model_validate(row) for row in repository.approvals(session, job.id)],
        parties={name: PartyOut.model_validate(row) for name, row in repository.parties(session, job.id).items()},
        phases=phases_of(repository.phase_events(session, job.id)),
        progress={str(e.party): _progress(e) for e in repository.last_progress(session, job.id)},
        ticket_sha256=job.ticket_sha256,
        expires_at=job.expires_at,
        model_sha256=report.model_sha256 if report else None,
        release=blocks.of_job(session, job.id, report.model_sha256 if report else None),
        last_seq=repository.last_seq(session, job.id),
    )


def get(control: Control, caller: Caller, job_id: str) -> JobOut:
    with control.db.read(caller) as session:
        return _view(session, _seen(caller, repository.job(session, job_id), job_id))


def list_jobs(control: Control, caller: Caller, state: str | None, cursor: str | None, limit: int) -> Page[JobSummary]:
    everything = Role.OPERATOR in caller.roles or (Role.REVIEWER in caller.roles and caller.institution == "platform")
    with control.db.read(caller) as session:
        query = repository.search(None if everything else caller.institution, state)
        rows, following = rows_of(session, query, repository.NEWEST, cursor, limit)
        names = institutions.names(session, {row.requested_by for row in rows})
        return Page(items=[JobSummary(**_summary(row, names)) for row in rows], next=following)


def events(control: Control, caller: Caller, job_id: str, after: int, limit: int) -> Events:
    with control.db.read(caller) as session:
        job = _seen(caller, repository.job(session, job_id), job_id)
        rows = repository.events(session, job_id, after, limit)
        return Events(
            events=[
                {**e.body, "seq": e.seq, "at": e.at.isoformat(), "kind": e.kind, "party": e.party, "node": e.node}
                for e in rows
            ],
            last_seq=rows[-1].seq if rows else after,
            state=job.state,  # type: ignore[arg-type]
        )


def report(control: Control, caller: Caller, job_id: str) -> dict[str, Any]:
    """The report as the lab's node sent it, with how its release stands now."""
    with control.db.read(caller) as session:
        _seen(caller, repository.job(session, job_id), job_id)
        row = repository.report(session, job_id)
        if row is None:
            raise NotFound("report of job", "作业报告", job_id)
        return {**json.loads(row.report), "release": blocks.of_job(session, job_id, row.model_sha256)}
