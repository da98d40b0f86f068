"""Enterprises on record: registration, certification, corrections, their people's codes, disputes and complaints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from api.client.answers import (
    CertificationOut,
    ConsentPersonOut,
    CorrectionOut,
    DisputeOut,
    EnterpriseDetail,
    EnterpriseOut,
)
from api.client.connection import Connection

_PAGE = 500


class Enterprises(Connection):
    # ---- on record

    def add_enterprise(self, enterprise: Mapping[str, Any]) -> dict[str, Any]:
        """uscc, name, contact_name, contact; the one-time code of its first person is shown this once."""
        return self._post("/v1/enterprises", dict(enterprise))

    def enterprises(self) -> Iterator[EnterpriseOut]:
        """Every enterprise on record, by USCC."""
        after = ""
        while items := self._get("/v1/enterprises", after=after, limit=_PAGE)["items"]:
            yield from items
            after = items[-1]["uscc"]

    def enterprise(self, uscc: str) -> EnterpriseDetail:
        return self._get(f"/v1/enterprises/{uscc}")

    def verify_enterprise(self, uscc: str, reason: str) -> dict[str, Any]:
        """A registration was checked and is right; the first person's code is shown this once."""
        return self._post(f"/v1/enterprises/{uscc}/verify", {"reason": reason})

    def reject_enterprise(self, uscc: str, reason: str) -> EnterpriseOut:
        return self._post(f"/v1/enterprises/{uscc}/reject", {"reason": reason})

    def set_enterprise_state(self, uscc: str, state: str, reason: str) -> EnterpriseOut:
        """`suspended`, `active` again, or `closed` for good."""
        return self._post(f"/v1/enterprises/{uscc}/state", {"state": state, "reason": reason})

    def enterprise_code(self, uscc: str, person: str, use: str, reason: str) -> dict[str, Any]:
        """A one-time code, shown this once: `enrol`, `recover`, `login` or `confirm`."""
        return self._post(f"/v1/enterprises/{uscc}/codes", {"person": person, "use": use, "reason": reason})

    def consenting_persons(self, uscc: str) -> list[ConsentPersonOut]:
        """Who consents in person besides the enterprise, by pseudonym and role."""
        return self._get(f"/v1/enterprises/{uscc}/persons")["items"]

    def name_consenting_person(
        self, uscc: str, role: str, *, person: str | None = None, name: str | None = None
    ) -> dict[str, Any]:
        """Somebody on record (`person`) or new (`name`), whose code to enrol is shown this once."""
        return self._post(f"/v1/enterprises/{uscc}/persons", {"role": role, "person": person, "name": name})

    def retire_consenting_person(self, uscc: str, pseudonym: str, reason: str) -> None:
        self._post(f"/v1/enterprises/{uscc}/persons/{pseudonym}/retire", {"reason": reason})

    # ---- certifications and corrections

    def certify_enterprise(self, uscc: str, visited_on: date, found: str) -> CertificationOut:
        """The caller's institution has checked it offline."""
        return self._put(
            f"/v1/enterprises/{uscc}/certification", {"visited_on": visited_on.isoformat(), "found": found}
        )

    def certifications(self, uscc: str) -> list[CertificationOut]:
        return self._get(f"/v1/enterprises/{uscc}/certifications")["items"]

    def revoke_certification(self, uscc: str, institution: str, reason: str) -> CertificationOut:
        return self._post(f"/v1/enterprises/{uscc}/certifications/{institution}/revoke", {"reason": reason})

    def prompt_correction(self, uscc: str, item: str, text: str) -> CorrectionOut:
        """Something on record is out of date: the enterprise has ten working days."""
        return self._post(f"/v1/enterprises/{uscc}/corrections", {"item": item, "text": text})

    def corrections(self, overdue: bool = False) -> list[CorrectionOut]:
        """Those that the institution prompted, for the operator all; `overdue`: not answered in time."""
        return self._get("/v1/enterprises/corrections", overdue=overdue, limit=_PAGE)["items"]

    def answer_correction(self, correction_id: str, answer: str) -> CorrectionOut:
        """At the counter, for the enterprise."""
        return self._post(f"/v1/enterprises/corrections/{correction_id}/answer", {"answer": answer})

    def follow_up_correction(self, correction_id: str, to: str, outcome: str) -> CorrectionOut:
        """`closed`, `prompted` again with a new clock, or `withdrawn`."""
        return self._post(f"/v1/enterprises/corrections/{correction_id}/follow-up", {"to": to, "outcome": outcome})

    # ---- disputes and complaints

    def open_dispute(self, dispute: Mapping[str, Any]) -> DisputeOut:
        """At the counter, for the enterprise: kind, enterprise, text, and what it is about."""
        return self._post("/v1/disputes", dict(dispute))

    def disputes(
        self, enterprise: str | None = None, state: str | None = None, overdue: bool = False
    ) -> list[DisputeOut]:
        """Those that concern the institution, for the operator all, newest first; overdue ones the longest first."""
        return self._get("/v1/disputes", enterprise=enterprise, state=state, overdue=overdue, limit=_PAGE)["items"]

    def dispute(self, dispute_id: str) -> DisputeOut:
        return self._get(f"/v1/disputes/{dispute_id}")

    def answer_dispute(self, dispute_id: str, answer: str) -> DisputeOut:
        return self._post(f"/v1/disputes/{dispute_id}/answer", {"answer": answer})

    def dispute_step(self, dispute_id: str, step: str, reason: str) -> DisputeOut:
        """For the enterprise: `close` (the answer is accepted), `reopen` (a new clock) or `withdraw`."""
        return self._post(f"/v1/disputes/{dispute_id}/{step}", {"reason": reason})
