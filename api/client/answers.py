"""What the API answers, for whoever reads it by key: one TypedDict for each shape, named as in the OpenAPI document.

Moments and days are texts in ISO 8601, amounts and rates texts as well. A test compares every one with the document.
"""

from __future__ import annotations

from typing import Any, TypedDict

# shapes that have another name here, because one of the same name is told as well
NAMED = {"StepOut": "ProgressOut", "CreditReport": "ReportOut"}


class Whoami(TypedDict):
    account_id: str
    name: str
    institution: str
    roles: list[str]
    level: str
    duties: list[str]


class NodeOut(TypedDict):
    name: str
    role: str
    institution: str
    relay: str | None
    zone_key: str | None
    datasets: list[dict[str, Any]]
    registered_at: str
    heard_at: str | None


class InstitutionOut(TypedDict):
    id: str
    name: str
    kind: str
    created_at: str


class PersonOut(TypedDict):
    account_id: str
    login: str
    institution: str
    name: str
    contact: str
    post: str
    level: str
    roles: list[str]
    duties: list[str] | None
    state: str
    second_factor: list[str]
    left_on: str | None
    disable_by: str | None
    overdue: bool


class SessionOut(TypedDict):
    id: str
    account_id: str
    login: str
    institution: str
    method: str
    address: str
    agent: str
    created_at: str
    seen_at: str
    concurrent: bool


class TokenOut(TypedDict):
    id: str
    created_at: str
    expires_at: str | None


class ClockOut(TypedDict):
    id: str
    kind: str
    kind_zh: str
    kind_en: str
    object_kind: str
    object_id: str
    holder: str
    enterprise: str | None
    started_at: str
    due_at: str
    stopped_at: str | None
    overdue: bool


class OverdueCount(TypedDict):
    holder: str
    kind: str
    count: int
    since: str


class Group(TypedDict):
    keys: dict[str, str | None]
    figures: dict[str, int | str | None]
    withheld: bool


class Statistics(TypedDict):
    stage: str
    by: list[str]
    first: str | None
    last: str | None
    least: int
    groups: list[Group]


class ReportLine(TypedDict):
    month: str
    audience: str
    sha256: str
    made_at: str


class ReportRow(TypedDict):
    section: str
    subject: str
    measure: str
    number: int


class ReportBody(TypedDict):
    month: str
    audience: str
    start: str
    end: str
    rows: list[ReportRow]


class ReportOut(TypedDict):
    month: str
    audience: str
    sha256: str
    made_at: str
    body: ReportBody


class FlowOut(TypedDict):
    id: str
    name: str
    status: str
    worker: str | None
    started_at: int | None
    parts: dict[str, Any] | None
    fault: str | None


class AuditEntry(TypedDict):
    seq: int
    at: str
    actor: str
    actor_name: str
    institution: str
    action: str
    object_kind: str
    object_id: str
    from_state: str | None
    to_state: str | None
    reason: str
    detail: dict[str, Any]


class ConsentOut(TypedDict):
    consent_id: str
    enterprise: str
    recipient: str
    provider: str
    purpose: str
    state: str
    valid_from: str
    valid_until: str
    withdrawn_at: str | None
    sequence: int
    head_sha256: str
    seq: int


class RequestOut(TypedDict):
    consent_id: str
    enterprise: str
    recipient: str
    purpose: str
    state: str
    reference: str | None
    reason: str
    valid_until: str
    asked_at: str
    answer_by: str
    ended_at: str | None
    document: dict[str, Any]


class EventPage(TypedDict):
    events: list[dict[str, Any]]
    last: int
    acked: int


class UsageOut(TypedDict):
    id: str
    at: str
    user: str
    institution: str
    reason: str
    content: str
    object_kind: str
    object: str
    purpose: str
    consent_id: str | None
    job_id: str | None
    release_id: str | None
    permit_id: str | None
    outcome: str | None
    outcome_code: str | None
    record: dict[str, Any]
    sentence: Sentence


class ImportResult(TypedDict):
    accepted: int
    refused: int
    withdrawn: int
    changed: int
    unchanged: int
    failed: int
    errors: list[dict[str, Any]]
    head: int


class ProjectSummary(TypedDict):
    id: str
    title: str
    bank: str
    lab: str
    purpose: str
    modes: list[str]
    recipes: list[str]
    state: str
    valid_until: str
    proposed_at: str


class AgreementOut(TypedDict):
    title: str
    sha256: str
    signed_on: str


class ProjectDecisionOut(TypedDict):
    capacity: str
    account_name: str
    decision: str
    reason: str
    at: str


class ProjectOut(ProjectSummary):
    label: str
    agreement: AgreementOut
    ended_at: str | None
    version: int
    decisions: list[ProjectDecisionOut]
    jobs: dict[str, int]


class TemplateOut(TypedDict):
    id: str
    institution: str
    title: str
    title_zh: str
    proposal: dict[str, Any]
    created_by: str
    created_at: str
    retired_at: str | None


class DatasetSummary(TypedDict):
    name: str
    title: str | None
    institution: str
    node: str
    role: str
    columns: int
    rows: int | None
    label: str | None
    as_of: str | None
    registered_at: str


class FeatureOut(TypedDict):
    name: str
    kind: str
    unit: str | None
    title: str | None
    title_zh: str | None
    meaning: str | None
    meaning_zh: str | None
    category: str | None
    dataset: str
    node: str
    institution: str


class ModelLine(TypedDict):
    sha256: str
    job_id: str
    project: str
    dataset: str
    bank: str
    lab: str
    mode: str
    recipe: str
    stage: str
    trained_at: str
    release_id: str | None
    released_at: str | None
    withdrawn_share: float | None
    models: dict[str, dict[str, float | None]]
    gain: dict[str, Any] | None


class JobSummary(TypedDict):
    id: str
    project: str
    dataset: str
    bank: str
    lab: str
    mode: str
    recipe: dict[str, Any]
    state: str
    cause: Cause | None
    retry_of: str | None
    requested_by: str
    requested_at: str
    approved_at: str | None
    started_at: str | None
    ended_at: str | None


class JobOut(JobSummary):
    proposal: dict[str, Any]
    approvals: list[dict[str, Any]]
    parties: dict[str, dict[str, Any]]
    phases: dict[str, list[dict[str, Any]]]
    progress: dict[str, dict[str, Any]]
    ticket_sha256: str | None
    expires_at: str | None
    model_sha256: str | None
    release: dict[str, Any]
    last_seq: int


class Cause(TypedDict):
    party: str | None
    node: str | None
    code: str
    message: str
    message_zh: str


class Events(TypedDict):
    events: list[dict[str, Any]]
    last_seq: int
    state: str


class Comparison(TypedDict):
    jobs: list[Compared]
    differences: dict[str, list[Any]]


class Compared(TypedDict):
    job: JobSummary
    models: dict[str, dict[str, float | None]]
    gain: dict[str, Any] | None
    egress: dict[str, int] | None
    seconds: float | None


class ReleaseOut(TypedDict):
    id: str
    job_id: str
    sha256: str
    state: str
    requested_by: str
    requested_at: str
    reason: str
    reviews: list[ReviewOut]
    confirmations: list[dict[str, Any]]
    cause: dict[str, Any] | None
    approved_at: str | None
    released_at: str | None


class ReviewOut(TypedDict):
    account_name: str
    decision: str
    comment: str
    at: str


class ScoreOut(TypedDict):
    score: float
    pd: float
    reasons: list[dict[str, Any]]
    model: dict[str, Any]
    consent_id: str
    usage_id: str
    disputed: bool


class Sentence(TypedDict):
    zh: str
    en: str


class BatchOut(TypedDict):
    items: list[BatchItem]
    scored: int
    refused: int


class BatchItem(TypedDict):
    enterprise: str
    score: ScoreOut | None
    refused: dict[str, Any] | None


class ProductDetail(TypedDict):
    id: str
    institution: str
    name: str
    product_class: str
    summary: str
    amount_min: str
    amount_max: str
    term_min: int
    term_max: int
    rate_min: str
    rate_max: str
    guarantees: list[str]
    regions: list[str]
    industries: list[str]
    modules: list[str]
    conditions: str
    materials: list[str]
    liaison_name: str
    liaison_contact: str
    state: str
    attested_name: str
    attested_at: str
    version: int
    flags: list[str]
    created_at: str
    submitted_at: str | None
    reviewed_at: str | None
    opinion: str | None


class ApplicationOut(TypedDict):
    id: str
    kind: str
    enterprise: str
    product: str | None
    institution: str | None
    product_class: str | None
    amount: str | None
    term_months: int | None
    rate_most: str | None
    purpose: str | None
    repayment: str | None
    guarantees: list[str]
    open_to_all: bool
    state: str
    created_at: str
    submitted_at: str | None
    opinion: str | None
    chosen: str | None
    ended_at: str | None
    attested_name: str
    attested_at: str
    version: int


class Basic(TypedDict):
    name: str
    region: str
    industry: str
    size: str
    established_on: str
    employees: int
    annual_revenue: str
    address: str
    contact_name: str
    contact: str
    certifications: list[str]


class ApplicationDetail(ApplicationOut):
    basic: Basic | None
    flags: list[str]
    missing: list[str]
    referrals: list[ReferralOut]


class ReferralOut(TypedDict):
    id: str
    application: str
    kind: str
    origin: str
    enterprise: str
    enterprise_name: str
    institution: str
    product: str | None
    product_class: str
    region: str
    industry: str
    amount: str
    term_months: int
    state: str
    received_at: str
    decided_at: str | None
    reason: str | None
    liaison_name: str | None
    liaison_contact: str | None
    approved_on: str | None
    approved_amount: str | None
    late: bool
    ended_at: str | None
    attested_name: str
    attested_at: str
    version: int


class StepOut(TypedDict):
    step: str
    on_day: str
    note: str
    usage_id: str | None
    late: bool
    attested_name: str
    attested_at: str


class ReferralDetail(ReferralOut):
    purpose: str
    repayment: str
    guarantees: list[str]
    rate_most: str | None
    basic: Basic
    progress: list[StepOut]
    clocks: list[ClockOut]


class Need(TypedDict):
    id: str
    product_class: str
    amount: str
    term_months: int
    rate_most: str | None
    guarantees: list[str]
    region: str
    industry: str
    size: str
    submitted_at: str


class MessageOut(TypedDict):
    id: int
    side: str
    author_name: str
    text: str
    at: str


class GuaranteeOut(TypedDict):
    id: str
    application: str
    enterprise: str
    guarantor: str
    amount: str
    note: str
    state: str
    invited_at: str
    answer: str | None
    answered_at: str | None
    attested_name: str
    attested_at: str


class GuaranteeDetail(GuaranteeOut):
    loan_amount: str
    term_months: int
    purpose: str
    repayment: str
    basic: Basic


class CreditOut(TypedDict):
    id: str
    referral: str
    institution: str
    enterprise: str
    enterprise_name: str
    product: str | None
    product_class: str
    region: str
    amount: str
    rate: str
    term_months: int
    contract_no: str
    approved_on: str
    signed_on: str
    begins_on: str
    ends_on: str
    guarantee: str
    disbursed: str
    outstanding: str
    classification: str
    days_overdue: int
    state: str
    granted_at: str
    reported_late: bool
    ended_at: str | None
    attested_name: str
    attested_at: str
    version: int


class DisbursementOut(TypedDict):
    voucher: str
    amount: str
    paid_on: str
    attested_name: str
    attested_at: str


class StatusOut(TypedDict):
    as_of: str
    status: str
    classification: str
    outstanding: str
    days_overdue: int
    note: str
    usage_id: str | None
    attested_name: str
    attested_at: str


class CreditDetail(CreditOut):
    disbursements: list[DisbursementOut]
    reports: list[StatusOut]


class PublicationDetail(TypedDict):
    id: str
    kind: str
    author: str
    title: str
    text: str
    source: str | None
    modules: list[str]
    state: str
    published_at: str | None
    attested_name: str
    attested_at: str
    version: int
    regions: list[str]
    industries: list[str]
    sizes: list[str]
    certifications: list[str]
    age_min: int | None
    age_max: int | None
    created_at: str
    reviewed_at: str | None
    opinion: str | None
    pushed: int


class QuestionOut(TypedDict):
    id: str
    enterprise: str
    title: str
    text: str
    may_publish: bool
    assigned_to: str | None
    answer: str | None
    answered_name: str | None
    answered_at: str | None
    state: str
    asked_at: str
    published_at: str | None
    attested_name: str
    attested_at: str


class IncidentOut(TypedDict):
    id: str
    institution: str
    kind: str
    severity: str
    found_by: str
    noticed_at: str
    title: str
    text: str
    measures: str | None
    contact: str
    state: str
    reported_name: str
    reported_at: str
    late: bool
    due_at: str
    overdue: bool
    acknowledged_name: str | None
    acknowledged_at: str | None
    opinion: str | None
    closed_name: str | None
    closed_at: str | None
    outcome: str | None


class CorrectionOut(TypedDict):
    id: str
    institution: str
    enterprise: str
    item: str
    text: str
    prompted_at: str
    due_at: str
    answer: str | None
    corrected_at: str | None
    outcome: str | None
    ended_at: str | None
    state: str
    overdue: bool


class CertificationOut(TypedDict):
    institution: str
    enterprise: str
    certified_at: str
    visited_on: str
    found: str
    state: str


class EnterpriseOut(TypedDict):
    uscc: str
    name: str
    subject: str
    state: str
    created_at: str


class EnterpriseDetail(TypedDict):
    uscc: str
    name: str
    subject: str
    state: str
    created_at: str
    contact_name: str
    contact: str
    people: list[dict[str, Any]]


class ConsentPersonOut(TypedDict):
    id: str
    role: str
    person: str | None


class DisputeOut(TypedDict):
    id: str
    kind: str
    enterprise: str
    institution: str | None
    consent_id: str | None
    usage_id: str | None
    text: str
    state: str
    opened_by: str
    opened_at: str
    due_at: str
    overdue: bool
    answer: str | None
    answered_by: str | None
    answered_at: str | None
    ended_at: str | None


class StandingOut(TypedDict):
    institution: str
    state: str
    ground: str
    evidence: str | None
    since: str
    until: str | None
    seq: int


class OnboardingOut(TypedDict):
    institution: str
    state: str
    agreement: str | None
    signed_on: str | None
    assessment: str | None
    assessor: str | None
    assessed_on: str | None


class AdmissionOut(TypedDict):
    id: str
    kind: str
    institution: str
    institution_name: str
    bank_code: str | None
    dated: str
    effective_on: str
    admins: list[dict[str, Any]]
    network_contact: dict[str, Any]
    submitted_by: str
    submitted_at: str
    opinion: str | None
    decided_by: str | None
    decided_at: str | None
    state: str


class AccountSanctionOut(TypedDict):
    id: str
    account_id: str
    duties: list[str] | None
    ground: str
    evidence: str | None
    since: str
    until: str | None
    state: str


class AccountOut(TypedDict):
    id: str
    name: str
    institution: str
    roles: list[str]
    level: str
    duties: list[str] | None
    owner: str | None
    created_at: str
    disabled_at: str | None


class WebhookOut(TypedDict):
    id: str
    institution: str
    url: str
    state: str
    created_at: str
    position: int
    attempts: int
    next_at: str
    last_fault: str | None


class DeadLetterOut(TypedDict):
    first: int
    last: int
    attempts: int
    fault: str
    at: str


class QueryOut(TypedDict):
    consent_id: str
    usage_id: str
    disputed: bool
    category: str
    window_months: int
    records: list[dict[str, Any]]


class VerificationOut(TypedDict):
    consent_id: str
    usage_id: str
    disputed: bool
    category: str
    answer: str


class CreditReport(TypedDict):
    consent_id: str
    usage_id: str
    disputed: bool
    report: dict[str, Any] | None
    pdf: str | None


class MediationOut(TypedDict):
    id: str
    credit: str
    institution: str
    enterprise: str
    side: str
    mediator: str
    reason: str
    state: str
    proposed_at: str
    answer: str | None
    answered_at: str | None
    outcome: str | None
    ended_at: str | None
    attested_name: str
    attested_at: str


class NoticeOut(TypedDict):
    id: str
    release_id: str
    bank: str
    state: str
    share: float
    opened_at: str
    closed_at: str | None
    reason: str | None
    retrained_by: str | None


class ReleaseConsents(TypedDict):
    release_id: str
    state: str
    share: float | None
    recall_share: float
    nodes: list[dict[str, Any]]


class DatasetOut(DatasetSummary):
    id: str
    split: dict[str, Any] | None
    fields: list[dict[str, Any]]


class Impact(TypedDict):
    consent_id: str
    state: str
    items: list[dict[str, Any]]


class ReceiptOut(TypedDict):
    seq: int
    step: str
    recorded_at: str
    receipt: dict[str, Any]
    proof: dict[str, Any]


class PeriodOut(TypedDict):
    kind: str
    zh: str
    en: str
    setting: str
    length: int
    reminders: list[int]
