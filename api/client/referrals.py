"""An institution's work on applications: from the referral to the credit and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from api.client.answers import (
    CreditDetail,
    CreditOut,
    GuaranteeDetail,
    GuaranteeOut,
    MediationOut,
    MessageOut,
    Need,
    ReferralDetail,
    ReferralOut,
)
from api.client.connection import Connection


class Referrals(Connection):
    # ---- applications before the institution

    def needs(self) -> Iterator[Need]:
        """Open needs that any institution may ask for, without names."""
        return self._pages("/v1/needs")

    def ask_for(self, application_id: str) -> ReferralDetail:
        """Ask for an open need: it is before the institution from now on, and its clock runs."""
        return self._post(f"/v1/needs/{application_id}/ask", {})

    def referrals(self, state: str | None = None) -> Iterator[ReferralOut]:
        """Applications before the institution, newest first."""
        return self._pages("/v1/referrals", state=state)

    def referral(self, referral_id: str) -> ReferralDetail:
        return self._get(f"/v1/referrals/{referral_id}")

    def accept_referral(
        self, referral_id: str, liaison_name: str, liaison_contact: str, note: str = "受理"
    ) -> ReferralDetail:
        """Take it up, with who looks after it. Due five working days after it was received."""
        body = {"liaison_name": liaison_name, "liaison_contact": liaison_contact, "note": note}
        return self._post(f"/v1/referrals/{referral_id}/accept", body)

    def refuse_referral(self, referral_id: str, reason: str) -> ReferralDetail:
        return self._post(f"/v1/referrals/{referral_id}/refuse", {"reason": reason})

    def follow_up(self, referral_id: str, on_day: date, note: str, usage_id: str | None = None) -> ReferralDetail:
        """The offline follow-up took place. Due one month after it was accepted."""
        return self._post(f"/v1/referrals/{referral_id}/follow-up", _met(on_day, note, usage_id))

    def note_progress(self, referral_id: str, on_day: date, note: str) -> ReferralDetail:
        """Anything else that happened while it is open."""
        return self._post(f"/v1/referrals/{referral_id}/progress", _met(on_day, note, None))

    def approve_referral(
        self, referral_id: str, on_day: date, amount: Decimal | str, note: str, usage_id: str | None = None
    ) -> ReferralDetail:
        """The institution approved it; its result is due five working days after that day."""
        body = {**_met(on_day, note, usage_id), "approved_amount": str(amount)}
        return self._post(f"/v1/referrals/{referral_id}/approve", body)

    def decline_referral(self, referral_id: str, on_day: date, note: str) -> ReferralDetail:
        """After the follow-up, no credit is given."""
        return self._post(f"/v1/referrals/{referral_id}/decline", _met(on_day, note, None))

    def messages(self, referral_id: str) -> Iterator[MessageOut]:
        return self._pages(f"/v1/referrals/{referral_id}/messages")

    def write_message(self, referral_id: str, text: str) -> MessageOut:
        return self._post(f"/v1/referrals/{referral_id}/messages", {"text": text})

    def guarantees_of(self, referral_id: str) -> list[GuaranteeOut]:
        return self._get(f"/v1/referrals/{referral_id}/guarantees")["items"]

    # ---- guarantors

    def guarantees(self, state: str | None = None) -> Iterator[GuaranteeOut]:
        """Invitations to the caller's institution as a guarantor."""
        return self._pages("/v1/guarantees", state=state)

    def guarantee(self, guarantee_id: str) -> GuaranteeDetail:
        """With what the guarantor is to judge."""
        return self._get(f"/v1/guarantees/{guarantee_id}")

    def answer_guarantee(self, guarantee_id: str, answer: str, decision: str = "accept") -> GuaranteeOut:
        return self._post(f"/v1/guarantees/{guarantee_id}/answer", {"decision": decision, "answer": answer})

    # ---- credits

    def report_result(self, referral_id: str, contract: Mapping[str, Any]) -> CreditDetail:
        """The contract that was signed: amount, rate, term_months, contract_no, the days and the guarantee."""
        return self._post(f"/v1/referrals/{referral_id}/result", dict(contract))

    def credits(self, state: str | None = None) -> Iterator[CreditOut]:
        """The institution's credits; for the operator everybody's."""
        return self._pages("/v1/credits", state=state)

    def credit_warnings(self) -> Iterator[CreditOut]:
        """Credits that need somebody's eye."""
        return self._pages("/v1/credits/warnings")

    def credit(self, credit_id: str) -> CreditDetail:
        return self._get(f"/v1/credits/{credit_id}")

    def report_disbursement(self, credit_id: str, voucher: str, amount: Decimal | str, paid_on: date) -> CreditDetail:
        """`voucher` is the institution's own number: sent again, nothing is paid twice."""
        body = {"voucher": voucher, "amount": str(amount), "paid_on": paid_on.isoformat()}
        return self._post(f"/v1/credits/{credit_id}/disbursements", body)

    def report_status(self, credit_id: str, status: Mapping[str, Any]) -> CreditDetail:
        """How it stands on a day: as_of, status, classification, outstanding, days_overdue, note."""
        return self._post(f"/v1/credits/{credit_id}/status", dict(status))

    def mediations(self, credit_id: str) -> list[MediationOut]:
        return self._get(f"/v1/credits/{credit_id}/mediations")["items"]

    def propose_mediation(self, credit_id: str, mediator: str, reason: str) -> MediationOut:
        """A dispute over a credit goes to a mediator once the enterprise agrees."""
        return self._post(f"/v1/credits/{credit_id}/mediations", {"mediator": mediator, "reason": reason})

    def answer_mediation(self, mediation_id: str, agree: bool, answer: str) -> MediationOut:
        return self._post(f"/v1/mediations/{mediation_id}/answer", {"agree": agree, "answer": answer})

    def end_mediation(self, mediation_id: str, settled: bool, outcome: str) -> MediationOut:
        return self._post(f"/v1/mediations/{mediation_id}/end", {"settled": settled, "outcome": outcome})

    def lapse_credit(self, credit_id: str, reason: str) -> CreditDetail:
        """It was granted and never paid out."""
        return self._post(f"/v1/credits/{credit_id}/lapse", {"reason": reason})


def _met(on_day: date, note: str, usage_id: str | None) -> dict[str, Any]:
    return {"on_day": on_day.isoformat(), "note": note, "usage_id": usage_id}
