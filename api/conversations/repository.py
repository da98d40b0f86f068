"""The table and queries of messages."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base


class Message(Base):
    """One message within a referral. Append-only: a log itself, which names its author."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    referral: Mapped[str] = mapped_column(sa.ForeignKey("referrals.id"))
    institution: Mapped[str]
    enterprise: Mapped[str]
    side: Mapped[str]
    author: Mapped[str]
    author_name: Mapped[str]
    text: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (
        sa.CheckConstraint("side in ('enterprise', 'institution')", name="messages_side"),
        sa.Index("messages_referral", "referral", "id"),
    )


def of_referral(referral_id: str) -> sa.Select[tuple[Message]]:
    return sa.select(Message).where(Message.referral == referral_id)
