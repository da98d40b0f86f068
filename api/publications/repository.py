"""Tables and queries of publications, policy pushes and questions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Base, Machine, Stateful
from api.financing import Attested
from api.publications.states import PUBLICATION, QUESTION


class Publication(Attested, Stateful, Base):
    """A notice, policy, piece of knowledge or frequent question. Of a policy, to which enterprises it is pushed.

    An empty list, or no age, excludes nobody.
    """

    __tablename__ = "publications"
    AUDIT_KIND: ClassVar[str] = "publication"
    MACHINE: ClassVar[Machine] = PUBLICATION

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    author: Mapped[str] = mapped_column(sa.ForeignKey("institutions.id"))
    title: Mapped[str]
    text: Mapped[str]
    source: Mapped[str | None]
    modules: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    regions: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    industries: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    sizes: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    certifications: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    age_min: Mapped[int | None]
    age_max: Mapped[int | None]
    state: Mapped[str]
    created_at: Mapped[datetime]
    reviewed_by: Mapped[str | None]
    reviewed_at: Mapped[datetime | None]
    opinion: Mapped[str | None]
    published_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column()

    __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}
    __table_args__ = (
        sa.CheckConstraint("kind in ('notice', 'policy', 'knowledge', 'faq')", name="publications_kind"),
        sa.Index("publications_author", "author", "created_at", "id"),
        sa.Index("publications_state", "state", "created_at", "id"),
        sa.Index(
            "publications_published", "kind", "published_at", "id", postgresql_where=sa.text("state = 'published'")
        ),
    )


class PolicyPush(Base):
    """A policy that was pushed to an enterprise, once. Append-only: a log itself."""

    __tablename__ = "policy_pushes"

    publication: Mapped[str] = mapped_column(sa.ForeignKey("publications.id"), primary_key=True)
    enterprise: Mapped[str] = mapped_column(primary_key=True)
    author: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (sa.Index("policy_pushes_enterprise", "enterprise", "at", "publication"),)


class Question(Attested, Stateful, Base):
    """An enterprise's question to the service desk or an expert. It becomes public only if the enterprise allows it."""

    __tablename__ = "expert_questions"
    AUDIT_KIND: ClassVar[str] = "question"
    MACHINE: ClassVar[Machine] = QUESTION

    id: Mapped[str] = mapped_column(primary_key=True)
    enterprise: Mapped[str] = mapped_column(sa.ForeignKey("enterprises.uscc"))
    title: Mapped[str]
    text: Mapped[str]
    may_publish: Mapped[bool]
    assigned_to: Mapped[str | None] = mapped_column(sa.ForeignKey("institutions.id"))
    answer: Mapped[str | None]
    answered_by: Mapped[str | None]
    answered_name: Mapped[str | None]
    answered_at: Mapped[datetime | None]
    state: Mapped[str]
    asked_at: Mapped[datetime]
    published_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index("expert_questions_enterprise", "enterprise", "asked_at", "id"),
        sa.Index("expert_questions_assigned", "assigned_to", "asked_at", "id"),
        sa.Index("expert_questions_state", "state", "asked_at", "id"),
        sa.Index("expert_questions_published", "published_at", "id", postgresql_where=sa.text("state = 'published'")),
    )


def publication(session: Session, publication_id: str, *, lock: bool = False) -> Publication | None:
    return session.get(Publication, publication_id, with_for_update=lock or None)


def question(session: Session, question_id: str, *, lock: bool = False) -> Question | None:
    return session.get(Question, question_id, with_for_update=lock or None)


def publications(author: str | None, state: str | None) -> sa.Select[tuple[Publication]]:
    query = sa.select(Publication)
    if author is not None:
        query = query.where(Publication.author == author)
    return query if state is None else query.where(Publication.state == state)


def published(kind: str, module: str | None) -> sa.Select[tuple[Publication]]:
    query = sa.select(Publication).where(Publication.state == "published", Publication.kind == kind)
    return query if module is None else query.where(Publication.modules.contains([module]))


def pushes(session: Session, publication_id: str) -> int:
    """To how many enterprises a policy was pushed."""
    query = sa.select(sa.func.count()).where(PolicyPush.publication == publication_id)
    return session.scalar(query) or 0
