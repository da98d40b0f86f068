"""The platform's own work: institutions, accounts and people, clocks, statistics, reports, flows, the audit trail."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

from api.client.answers import (
    AuditEntry,
    ClockOut,
    FlowOut,
    InstitutionOut,
    NodeOut,
    OverdueCount,
    PeriodOut,
    PersonOut,
    ReportLine,
    ReportOut,
    SessionOut,
    Statistics,
    TokenOut,
    Whoami,
)
from api.client.connection import Connection


class Operations(Connection):
    # ---- institutions and accounts

    def whoami(self) -> Whoami:
        return self._get("/v1/whoami")

    def add_institution(self, id: str, name: str, kind: str, papers: Mapping[str, Any] | None = None) -> InstitutionOut:
        """Without `papers` (agreement and assessment) it is being prepared, and active once both are recorded."""
        return self._post("/v1/institutions", {"id": id, "name": name, "kind": kind, "papers": papers})

    def institutions(self) -> list[InstitutionOut]:
        return self._get("/v1/institutions")["items"]

    def add_account(self, name: str, institution: str, roles: Iterable[str]) -> dict[str, Any]:
        """The new account with its token, which is shown this once."""
        return self._post("/v1/accounts", {"name": name, "institution": institution, "roles": list(roles)})

    def nodes(self) -> list[NodeOut]:
        return self._get("/v1/nodes")["items"]

    # ---- people and tokens

    def people(self, overdue: bool = False) -> list[PersonOut]:
        """People of the caller's institution, for the operator everybody; `overdue`: leavers not disabled in time."""
        return self._get("/v1/staff", overdue=overdue)["items"]

    def add_person(self, person: Mapping[str, Any]) -> dict[str, Any]:
        """Somebody new of the caller's institution, by real name; the one-time code is shown this once."""
        return self._post("/v1/staff", dict(person))

    def person_left(self, account_id: str, left_on: date, reason: str) -> None:
        """Whoever left is disabled at once."""
        self._post(f"/v1/staff/{account_id}/leave", {"left_on": left_on.isoformat(), "reason": reason})

    def sessions(self) -> list[SessionOut]:
        return self._get("/v1/staff/sessions")["items"]

    def end_session(self, session_id: str, reason: str) -> None:
        self._post(f"/v1/staff/sessions/{session_id}/end", {"reason": reason})

    def tokens(self, account_id: str) -> list[TokenOut]:
        return self._get(f"/v1/accounts/{account_id}/tokens")["items"]

    def rotate_token(self, account_id: str, reason: str, keep_hours: int = 24) -> dict[str, Any]:
        """A new token, shown this once; the earlier ones end after `keep_hours`."""
        return self._post(f"/v1/accounts/{account_id}/tokens", {"reason": reason, "keep_hours": keep_hours})

    def end_token(self, account_id: str, token_id: str, reason: str) -> None:
        self._post(f"/v1/accounts/{account_id}/tokens/{token_id}/end", {"reason": reason})

    # ---- clocks, statistics, reports

    def clocks(self, overdue: bool = False, holder: str | None = None) -> Iterator[ClockOut]:
        """Deadlines that run, the next due first; with `overdue`, those that have passed."""
        return self._pages("/v1/clocks", overdue=overdue, holder=holder)

    def overdue(self) -> list[OverdueCount]:
        """How many deadlines have passed, by who must act and kind."""
        return self._get("/v1/clocks/overdue")["items"]

    def periods(self) -> list[PeriodOut]:
        """How long each deadline is, and when it is reminded of."""
        return self._get("/v1/clocks/periods")["items"]

    def statistics(
        self,
        stage: str,
        *by: str,
        everybody: bool = False,
        first: str | None = None,
        last: str | None = None,
    ) -> Statistics:
        """Figures `before`, `during` or `after` the loan by institution, region, product or month (2026-10)."""
        return self._get("/v1/statistics", stage=stage, by=list(by), everybody=everybody, first=first, last=last)

    def statistics_csv(self, stage: str, *by: str, **wanted: Any) -> str:
        """The same as a table."""
        return self.text("/v1/statistics", stage=stage, by=list(by), format="csv", **wanted)

    def period_reports(self) -> list[ReportLine]:
        """Monthly reports that the caller's institution may read, newest first."""
        return self._get("/v1/reports")["items"]

    def period_report(self, month: str, audience: str) -> ReportOut:
        """One report; `audience` is `platform` or an institution."""
        return self._get(f"/v1/reports/{month}/{audience}")

    def period_report_csv(self, month: str, audience: str) -> str:
        return self.text(f"/v1/reports/{month}/{audience}/csv")

    # ---- flows

    def flows(self, limit: int = 50) -> list[FlowOut]:
        """The newest runs of what goes by the clock."""
        return self._get("/v1/flows", limit=limit)["items"]

    def run_flow(self, name: str, reason: str, at: datetime | None = None) -> str:
        """Runs a work now, as of `at`; the number of the run. The same moment runs once."""
        body = {"reason": reason} if at is None else {"reason": reason, "at": at.isoformat()}
        return self._post(f"/v1/flows/{name}/runs", body)["id"]

    # ---- audit

    def audit(
        self, object_kind: str | None = None, object_id: str | None = None, after: int = 0, limit: int = 500,
        **wanted: Any,
    ) -> list[AuditEntry]:  # fmt: skip
        """The audit trail, oldest first; also by actor, institution, action, since and until."""
        where = {"object_kind": object_kind, "object_id": object_id, **wanted}
        return self._get("/v1/audit", after=after, limit=limit, **where)["items"]

    def audit_export(self, **wanted: Any) -> list[AuditEntry]:
        """The whole trail that fits, at once: by object_kind, object_id, actor, institution, action, since, until."""
        return [json.loads(line) for line in self.text("/v1/audit/export", **wanted).splitlines()]
