"""Consents, requests for them, the signed events that follow, and records of use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from api.client.answers import ConsentOut, EventPage, Impact, ImportResult, RequestOut, UsageOut
from api.client.connection import Connection


class Consents(Connection):
    # ---- consents

    def import_consents(self, source: Path | Iterable[bytes]) -> ImportResult:
        """Sends signed documents, one a line, from a file or an iterable of lines."""

        def chunks() -> Iterator[bytes]:
            if isinstance(source, Path):
                with source.open("rb") as file:
                    while chunk := file.read(1 << 18):
                        yield chunk
            else:
                for line in source:
                    yield line.rstrip(b"\n") + b"\n"

        return self.call(
            "POST",
            "/v1/consents/import",
            content=chunks(),
            headers={"Content-Type": "application/x-ndjson"},
            timeout=600,
        )

    def consents(self, enterprise: str) -> list[ConsentOut]:
        return self._get("/v1/consents", enterprise=enterprise)["items"]

    def consent_counts(self) -> dict[str, Any]:
        return self._get("/v1/consents/counts")

    def impact(self, consent_id: str) -> Impact:
        """Which models rest on a withdrawn consent, as the nodes answer now."""
        return self.call("GET", f"/v1/consents/{consent_id}/impact", timeout=60)

    # ---- requests and events

    def request_consent(self, request: Mapping[str, Any]) -> RequestOut:
        """Asks one enterprise for its consent to the caller's institution."""
        return self._post("/v1/consent-requests", dict(request))

    def request_consents(self, file: Path) -> dict[str, Any]:
        """A file of many requests: `.csv` with a header, else one JSON object a line."""
        kind = "text/csv" if file.suffix == ".csv" else "application/x-ndjson"
        headers = {"Content-Type": kind}
        return self.call("POST", "/v1/consent-requests/import", content=file.read_bytes(), headers=headers, timeout=600)

    def consent_requests(self, **filters: Any) -> list[RequestOut]:
        return self._get("/v1/consent-requests", **filters)["items"]

    def consent_request(self, consent_id: str) -> RequestOut:
        return self._get(f"/v1/consent-requests/{consent_id}")

    def consent_request_counts(self) -> dict[str, Any]:
        return self._get("/v1/consent-requests/counts")

    def cancel_consent_request(self, consent_id: str, reason: str) -> RequestOut:
        """Takes a request back that was not answered yet."""
        return self._post(f"/v1/consent-requests/{consent_id}/cancel", {"reason": reason})

    def consent_events(self, after: int | None = None, wait: float = 0) -> EventPage:
        """Signed events that concern the caller's institution, after a position or the last acknowledged one."""
        params = {"wait": wait} if after is None else {"wait": wait, "after": after}
        return self.call("GET", "/v1/consent-events", params=params, timeout=wait + 30)

    def ack_consent_events(self, position: int) -> dict[str, Any]:
        return self._post("/v1/consent-events/ack", {"position": position})

    def usage(self, enterprise: str | None = None) -> list[UsageOut]:
        return self._get("/v1/usage", enterprise=enterprise)["items"]
