"""Tables and queries of projects and of the decisions on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base, Machine, Stateful
from api.paging import Order
from api.projects.states import PROJECT


class Project(Stateful, Base):
    __tablename__ = "projects"
    AUDIT_KIND: ClassVar[str] = "project"
    MACHINE: ClassVar[Machine] = PROJECT

    id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    bank: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    lab: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    purpose: Mapped[str]
    modes: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    recipes: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    label: Mapped[str]  # what counts as bad, and within which window
    agreement: Mapped[dict[str, Any]]  # title, sha256, signed_on
    valid_until: Mapped[datetime]
    proposed_by: Mapped[str]
    proposed_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    state: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}


class ProjectDecision(Audited, Base):
    """The data owner's or the operator's word. Append-only."""

    __tablename__ = "project_decisions"
    AUDIT_KIND: ClassVar[str] = "project_decision"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("project_id", "capacity")

    project_id: Mapped[str] = mapped_column(sa.ForeignKey("projects.id"), primary_key=True)
    capacity: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    account_name: Mapped[str]
    decision: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]


NEWEST = Order("-proposed_at", (Project.proposed_at, Project.id), descending=True)


def project(session: Session, project_id: str) -> Project | None:
    return session.get(Project, project_id)


def locked(session: Session, project_id: str) -> Project | None:
    return session.get(Project, project_id, with_for_update=True)


def decisions(session: Session, project_id: str) -> Sequence[ProjectDecision]:
    query = sa.select(ProjectDecision).where(ProjectDecision.project_id == project_id).order_by(ProjectDecision.at)
    return session.scalars(query).all()


def search(institution: str | None, state: str | None) -> sa.Select[tuple[Project]]:
    """Projects of an institution, or all of them."""
    query = sa.select(Project)
    if institution is not None:
        query = query.where(sa.or_(Project.bank == institution, Project.lab == institution))
    return query if state is None else query.where(Project.state == state)
