"""Shapes of projects."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.fields import Body, Prose, Sha256, Slug, Text
from consent.purposes import Purpose

ProjectState = Literal["proposed", "active", "rejected", "withdrawn", "closed"]
ModeName = Literal["federated", "zone"]
RecipeName = Literal["boosting", "logistic"]


class AgreementIn(Body):
    """The contract between the parties: kept by them, named here by its digest."""

    title: Text
    sha256: Sha256
    signed_on: date


class AgreementOut(BaseModel):
    title: str
    sha256: str
    signed_on: date


class ProjectIn(Body):
    id: Slug
    title: Text
    lab: Slug
    purpose: Literal["joint_training"] = Field(Purpose.JOINT_TRAINING.value, description="financing only (R50)")
    modes: Annotated[list[ModeName], Field(min_length=1, max_length=2)] = Field(default=["federated", "zone"])
    recipes: Annotated[list[RecipeName], Field(min_length=1, max_length=2)] = Field(default=["boosting", "logistic"])
    label: Prose = Field(description="what counts as bad, and within which window")
    agreement: AgreementIn
    valid_until: AwareDatetime


class ProjectDecisionIn(Body):
    decision: Literal["approve", "reject"]
    reason: Prose


class ProjectDecisionOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    capacity: str
    account_name: str
    decision: str
    reason: str
    at: datetime


class ProjectSummary(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    title: str
    bank: str
    lab: str
    purpose: str
    modes: list[str]
    recipes: list[str]
    state: ProjectState
    valid_until: datetime
    proposed_at: datetime


class ProjectOut(ProjectSummary):
    label: str
    agreement: AgreementOut
    ended_at: datetime | None
    version: int
    decisions: list[ProjectDecisionOut]
    jobs: dict[str, int] = Field(description="its jobs by state")
