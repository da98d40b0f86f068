"""Questions about uses that the platform vouched for: noted before they are answered, no more than the owner says.

The platform could ask in the name of an enterprise that never had a key. So each such question stays here, signed by
the platform, whether it was answered or refused, and the owner's daily limit bounds what a false word could read out.
Owns the notes and the count. What may be answered is `consent.usage_question`'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from consent.policy import Denied
from consent.times import parse, stamp
from enclave.journal import Journal

WINDOW = timedelta(hours=24)


class Note(NamedTuple):
    """One question as it was noted. `position` is that of its entry in the platform's ledger, once proved.

    `code` says why it was refused, None that it was answered. `evidence` is the ledger's record of the question, or
    the question as the platform signed it where it came without such a proof.
    """

    question_id: str
    enterprise: str
    asked_at: str
    noted_at: str
    position: int | None
    code: str | None
    evidence: bytes


def _now() -> str:
    return stamp(datetime.now(UTC))


class Asked:
    """The notes in a node's journal. `most` is how many such questions may be answered within 24 hours."""

    def __init__(self, journal: Journal, most: int = 0, clock: Callable[[], str] = _now) -> None:
        self._journal = journal
        self._most = most
        self._clock = clock

    def answered(self, question: Mapping[str, Any], evidence: bytes, position: int) -> None:
        """Notes and counts a question that is about to be answered; it may be answered once this returns.

        Raises Denied for one noted before (nothing is added then), and for one too many (noted as refused).
        """
        at = self._clock()
        since = stamp(parse(at) - WINDOW)
        with self._journal.transaction() as db:
            if db.execute("SELECT 1 FROM question WHERE question_id = ?", (question["question_id"],)).fetchone():
                raise Denied(
                    "question_repeated", "this question was put here before: ask anew", "该询问此前已提出：请重新询问"
                )
            counted = [
                row[0]
                for row in db.execute(
                    "SELECT noted_at FROM question WHERE code IS NULL AND noted_at > ? ORDER BY noted_at", (since,)
                )
            ]
            denied = None if len(counted) < self._most else self._spent(counted)
            self._add(db, question, at, position, denied and denied.code, evidence)
        if denied is not None:
            raise denied

    def refused(self, question: Mapping[str, Any], evidence: bytes, code: str) -> None:
        """Notes a question that is not answered, with the reason's code; one that was noted before is no news."""
        with self._journal.transaction() as db:
            self._add(db, question, self._clock(), None, code, evidence)

    @staticmethod
    def _add(
        db: Any, question: Mapping[str, Any], at: str, position: int | None, code: str | None, evidence: bytes
    ) -> None:
        db.execute(
            "INSERT OR IGNORE INTO question (question_id, enterprise, asked_at, noted_at, position, code, evidence)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (question["question_id"], question["enterprise"], question["at"], at, position, code, evidence),
        )

    def _spent(self, counted: list[str]) -> Denied:
        """`counted`: when the questions of the last 24 hours were answered, oldest first."""
        if not self._most:
            return Denied(
                "platform_word_not_taken",
                "the owner of this node answers no question by session and code: ask at its counter",
                "本节点所有方不接受以会话加验证码提出的询问：请到其柜台查询",
            )
        again = stamp(parse(counted[-self._most]) + WINDOW)
        return Denied(
            "questions_spent",
            f"{self._most} questions by session and code were answered here within 24 hours, as many as the owner "
            f"allows: ask again after {again}, or at the owner's counter",
            f"24 小时内本节点已答复 {self._most} 次以会话加验证码提出的询问，已达所有方上限：请于 {again} 之后再问，"
            "或到所有方柜台查询",
        )

    def notes(self, enterprise: str | None = None) -> list[Note]:
        """Every question, or those about one enterprise, oldest first."""
        with self._journal.transaction() as db:
            rows = db.execute(
                "SELECT question_id, enterprise, asked_at, noted_at, position, code, evidence FROM question"
                " WHERE ?1 IS NULL OR enterprise = ?1 ORDER BY number",
                (enterprise,),
            ).fetchall()
        return [Note(*row) for row in rows]
