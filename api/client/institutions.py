"""Institutions and accounts: papers, applications about admins, sanctions, duties, webhooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from api.client.answers import (
    AccountOut,
    AccountSanctionOut,
    AdmissionOut,
    DeadLetterOut,
    OnboardingOut,
    StandingOut,
    WebhookOut,
)
from api.client.connection import Connection


class Institutions(Connection):
    # ---- papers and standing

    def onboardings(self) -> list[OnboardingOut]:
        """On which papers each institution is connected."""
        return self._get("/v1/institutions/onboardings")["items"]

    def record_agreement(self, institution: str, reference: str, signed_on: date) -> OnboardingOut:
        body = {"reference": reference, "signed_on": signed_on.isoformat()}
        return self._put(f"/v1/institutions/{institution}/agreement", body)

    def record_assessment(self, institution: str, reference: str, assessor: str, assessed_on: date) -> OnboardingOut:
        body = {"reference": reference, "assessor": assessor, "assessed_on": assessed_on.isoformat()}
        return self._put(f"/v1/institutions/{institution}/assessment", body)

    def rectify(self, institution: str, ground: str) -> OnboardingOut:
        """No access until it was assessed again."""
        return self._post(f"/v1/institutions/{institution}/rectify", {"ground": ground})

    def standings(self) -> list[StandingOut]:
        """Institutions under a sanction, or formerly."""
        return self._get("/v1/institutions/standings")["items"]

    def sanction(
        self, institution: str, step: str, ground: str, evidence: str | None = None, until: datetime | None = None
    ) -> StandingOut:
        """`suspend`, `reinstate` or `remove` (for good): in force at once, running jobs included."""
        body = {"ground": ground, "evidence": evidence, "until": None if until is None else until.isoformat()}
        return self._post(f"/v1/institutions/{institution}/{step}", body)

    # ---- applications about admins

    def apply_for_admins(self, application: Mapping[str, Any]) -> AdmissionOut:
        """The paper form: institution, admins A and B, network contact, pledge, the day it takes effect."""
        return self._post("/v1/admissions", dict(application))

    def admissions(self, state: str | None = None) -> list[AdmissionOut]:
        return self._get("/v1/admissions", state=state, limit=500)["items"]

    def decide_admission(self, admission_id: str, step: str, opinion: str) -> AdmissionOut:
        """`approve` or `return`, with an opinion."""
        return self._post(f"/v1/admissions/{admission_id}/{step}", {"opinion": opinion})

    def carry_out_admission(self, admission_id: str) -> dict[str, Any]:
        """On its day; new admins' one-time codes are shown this once."""
        return self._post(f"/v1/admissions/{admission_id}/carry-out", None)

    def withdraw_admission(self, admission_id: str) -> AdmissionOut:
        return self._post(f"/v1/admissions/{admission_id}/withdraw", None)

    # ---- accounts

    def accounts(self) -> list[AccountOut]:
        return self._get("/v1/accounts")["items"]

    def set_duties(self, account_id: str, duties: Iterable[str] | None, reason: str) -> None:
        """What of its roles an account may do (right:resource); None: all of it."""
        named = None if duties is None else list(duties)
        self._put(f"/v1/accounts/{account_id}/duties", {"duties": named, "reason": reason})

    def cancel_account(self, account_id: str, reason: str) -> None:
        self._post(f"/v1/accounts/{account_id}/cancel", {"reason": reason})

    def reset_person(self, account_id: str, reason: str) -> dict[str, Any]:
        """Password and second factor begin again with a one-time code, shown this once."""
        return self._post(f"/v1/staff/{account_id}/reset", {"reason": reason})

    def sanction_account(
        self,
        account_id: str,
        ground: str,
        duties: Iterable[str] | None = None,
        evidence: str | None = None,
        until: datetime | None = None,
    ) -> AccountSanctionOut:
        """Suspends some duties, or all, with the next request."""
        body = {
            "duties": None if duties is None else list(duties),
            "ground": ground,
            "evidence": evidence,
            "until": None if until is None else until.isoformat(),
        }
        return self._post(f"/v1/accounts/{account_id}/sanctions", body)

    def lift_account_sanction(self, sanction_id: str, reason: str) -> AccountSanctionOut:
        return self._post(f"/v1/accounts/sanctions/{sanction_id}/lift", {"reason": reason})

    def account_sanctions(self, account_id: str | None = None) -> list[AccountSanctionOut]:
        return self._get("/v1/accounts/sanctions", account_id=account_id)["items"]

    def authority(self) -> list[dict[str, Any]]:
        """The matrix of who may do what: one row for each action."""
        return self._get("/v1/authority")["items"]

    # ---- webhooks

    def add_webhook(self, institution: str, url: str) -> dict[str, Any]:
        """Events are delivered there from now on; the secret is shown this once."""
        return self._post("/v1/webhooks", {"institution": institution, "url": url})

    def webhooks(self) -> list[WebhookOut]:
        return self._get("/v1/webhooks")["items"]

    def remove_webhook(self, webhook_id: str, reason: str) -> WebhookOut:
        return self._post(f"/v1/webhooks/{webhook_id}/remove", {"reason": reason})

    def dead_letters(self, webhook_id: str) -> list[DeadLetterOut]:
        """Events that were given up on."""
        return self._get(f"/v1/webhooks/{webhook_id}/dead-letters", limit=500)["items"]
