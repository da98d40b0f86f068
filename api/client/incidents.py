"""Security incidents: reported by whoever notices one, worked on by the operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from api.client.answers import IncidentOut
from api.client.connection import Connection


class Incidents(Connection):
    def report_incident(self, incident: Mapping[str, Any]) -> IncidentOut:
        """kind, severity, noticed_at, title, text and contact; also found_by and measures. The operator is told."""
        return self._post("/v1/incidents", dict(incident))

    def incidents(
        self, state: str | None = None, *, pending: bool = False, overdue: bool = False
    ) -> Iterator[IncidentOut]:
        """The institution's own, for the operator all: newest first; what is pending or overdue by the next due."""
        return self._pages("/v1/incidents", state=state, pending=pending, overdue=overdue)

    def unacknowledged(self, wait: float = 0) -> list[IncidentOut]:
        """What the operator has not acknowledged yet; waits up to `wait` seconds while there is none."""
        params = {"state": "reported", "pending": True, "wait": wait}
        return self.call("GET", "/v1/incidents", params=params, timeout=wait + 30)["items"]

    def incident(self, incident_id: str) -> IncidentOut:
        return self._get(f"/v1/incidents/{incident_id}")

    def acknowledge_incident(self, incident_id: str, opinion: str, severity: str | None = None) -> IncidentOut:
        """The operator takes it up, at another severity where it judges so."""
        body = {"opinion": opinion, "severity": severity}
        return self._post(f"/v1/incidents/{incident_id}/acknowledge", body)

    def close_incident(self, incident_id: str, outcome: str) -> IncidentOut:
        return self._post(f"/v1/incidents/{incident_id}/close", {"outcome": outcome})
