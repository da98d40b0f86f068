"""What a lab tells of one enterprise under its live consent, and the evidence of uses and consents."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from api.client.answers import CreditReport, QueryOut, ReceiptOut, VerificationOut
from api.client.connection import Connection


class Data(Connection):
    def query_data(
        self,
        enterprise: str,
        category: str,
        reason: str,
        *,
        provider: str,
        purpose: str = "report_query",
        items: Iterable[str] | None = None,
        window_months: int | None = None,
        node: str | None = None,
    ) -> QueryOut:
        """Records of one category from the lab `provider`: all items that the consent covers, or those named."""
        body = _asked(enterprise, provider, purpose, reason, node)
        named = None if items is None else list(items)
        return self._post(
            "/v1/data/queries", body | _given(category=category, items=named, window_months=window_months)
        )

    def verify_data(
        self,
        enterprise: str,
        category: str,
        reason: str,
        *,
        provider: str,
        purpose: str = "report_query",
        stated: Mapping[str, str] | None = None,
        at_least: Mapping[str, str] | None = None,
        node: str | None = None,
    ) -> VerificationOut:
        """`yes`, `no` or `no_record`: whether what is stated agrees with a record, and numbers reach `at_least`."""
        body = _asked(enterprise, provider, purpose, reason, node)
        return self._post(
            "/v1/data/verifications",
            {**body, "category": category, "stated": dict(stated or {}), "at_least": dict(at_least or {})},
        )

    def credit_report(
        self,
        enterprise: str,
        reason: str,
        *,
        provider: str,
        purpose: str = "report_query",
        categories: Iterable[str] | None = None,
        window_months: int | None = None,
        node: str | None = None,
    ) -> CreditReport:
        """The credit report with its composite evaluation, as a document in `report`."""
        return self._report("json", _asked(enterprise, provider, purpose, reason, node), categories, window_months)

    def credit_report_pdf(
        self,
        enterprise: str,
        reason: str,
        *,
        provider: str,
        purpose: str = "report_query",
        categories: Iterable[str] | None = None,
        window_months: int | None = None,
        node: str | None = None,
    ) -> bytes:
        """The same as a PDF file."""
        told = self._report("pdf", _asked(enterprise, provider, purpose, reason, node), categories, window_months)
        return base64.b64decode(told["pdf"], validate=True)

    def _report(
        self, form: str, asked: dict[str, Any], categories: Iterable[str] | None, window_months: int | None
    ) -> Any:
        named = None if categories is None else list(categories)
        return self._post("/v1/data/reports", asked | _given(form=form, categories=named, window_months=window_months))

    # ---- evidence

    def usage_record(self, usage_id: str) -> dict[str, Any]:
        """A use with salt and ledger proof, for `creditlab verify`."""
        return self._get(f"/v1/usage/{usage_id}/record")

    def receipts(self, consent_id: str) -> list[ReceiptOut]:
        """Each step of a consent's life, with its proof."""
        return self._get(f"/v1/consents/{consent_id}/receipts")["items"]

    def receipt_file(self, consent_id: str, seq: int) -> dict[str, Any]:
        """One receipt as the file that `creditlab verify` reads."""
        return self._get(f"/v1/consents/{consent_id}/receipts/{seq}/file")


def _asked(enterprise: str, provider: str, purpose: str, reason: str, node: str | None) -> dict[str, Any]:
    return {"enterprise": enterprise, "provider": provider, "purpose": purpose, "reason": reason} | _given(node=node)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
