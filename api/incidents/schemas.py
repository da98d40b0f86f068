"""Shapes of security incidents."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from api.fields import Body, Prose, Text
from api.incidents.states import FoundBy, Kind, Severity

IncidentId = Annotated[str, StringConstraints(pattern=r"^si-[0-9a-f]{12}$")]
IncidentState = Literal["reported", "acknowledged", "closed"]


class IncidentIn(Body):
    """What was noticed, when, how grave it is and who can be asked. No personal data of enterprises belongs here."""

    kind: Kind
    severity: Severity
    found_by: FoundBy = FoundBy.OPERATION
    noticed_at: AwareDatetime = Field(description="when it was noticed, not when it is reported")
    title: Text
    text: Prose = Field(description="what happened, and what is affected")
    measures: Prose | None = Field(None, description="what has been done about it so far")
    contact: Text = Field(description="who can be asked now: name and telephone")


class AcknowledgeIn(Body):
    """The operator has seen it, and says what is to be done."""

    opinion: Prose
    severity: Severity | None = Field(None, description="the operator's own judgement, where it differs")


class CloseIn(Body):
    outcome: Prose = Field(description="the cause, what was done, what is changed so that it does not come back")


class IncidentOut(BaseModel):
    id: str
    institution: str
    kind: Kind
    severity: Severity
    found_by: FoundBy
    noticed_at: datetime
    title: str
    text: str
    measures: str | None
    contact: str
    state: IncidentState
    reported_name: str
    reported_at: datetime
    late: bool = Field(description="reported later after it was noticed than the platform allows")
    due_at: datetime = Field(description="until when it is acknowledged; once it is, until when it is closed")
    overdue: bool
    acknowledged_name: str | None
    acknowledged_at: datetime | None
    opinion: str | None
    closed_name: str | None
    closed_at: datetime | None
    outcome: str | None
