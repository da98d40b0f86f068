"""What this node tells an enterprise of the use of its data in joint training; to the enterprise itself, nobody else.

The answer passes through the control plane, which so learns of an enterprise that asks which jobs used it, and of no
other. Owns the answer; who may ask is `consent.usage_question`'s to say, how often the platform may vouch for who asks
`enclave.asked`'s, what was used the journal's.
"""

from __future__ import annotations

import asyncio

from consent.artefact import MalformedDocument
from consent.canonical import canonical
from consent.errors import Refused
from consent.policy import Denied
from consent.purposes import Purpose
from consent.signed import Document
from consent.usage_question import Body, check_asked, check_entered, check_word, is_word
from enclave.asked import Asked
from enclave.endings import JobEnded, cause_of
from enclave.gate import Consents, now
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from enclave.use_log import UseLog
from federated.relay.link import Cause


class Uses:
    """One node's answers."""

    def __init__(
        self, journal: Journal, consents: Consents, log: UseLog, platform: PlatformKeys, session_questions: int = 0
    ) -> None:
        self._journal = journal
        self._consents = consents
        self._log = log
        self._platform = platform
        self._asked = Asked(journal, session_questions)

    async def answer(self, document: dict, record: object = None) -> tuple[str, dict]:
        """(question id, what to tell), or why not: {"uses": [{at, recipient, job_id, consent_id, data, record}, …],
        "asked": [{question_id, at, answered}, …]}.

        A use's `record` is the use in this node's log; None for one of a job that read no row, or from before the log.
        `asked` are the earlier questions about this enterprise for which the platform vouched. The argument `record`
        proves that the platform's ledger holds a question by the platform's word.
        """
        body = document.get("body")
        question_id = str(body.get("question_id", "")) if isinstance(body, dict) else ""
        try:
            await self._consents.sync()
            question = await self._by_word(document, record) if is_word(document) else self._by_key(document)
            return question_id, await asyncio.to_thread(self._told, question)
        except MalformedDocument as error:
            cause = Cause("question_refused", f"the question was refused: {error}", "询问无效")
        except Denied as error:
            cause = cause_of(error)
        except Refused as error:
            cause = Cause(error.code, error.message, error.message_zh)
        except JobEnded as error:
            cause = error.cause
        return question_id, {"code": cause.code, "message": cause.message, "message_zh": cause.message_zh}

    def _by_key(self, document: Document) -> Body:
        body = document.get("body")
        keys = self._consents.book.keys_of(str(body.get("enterprise"))) if isinstance(body, dict) else frozenset()
        return check_asked(document, keys, now())

    async def _by_word(self, document: Document, record: object) -> Body:
        """The body of a question that the platform may vouch for, noted and counted."""
        await self._platform.learn([document])
        question = check_word(document, self._platform.current(document))
        keys = self._consents.book.keys_of(question["enterprise"])
        try:
            heads, log_id = self._platform.head_keys(), await asyncio.to_thread(self._log.platform_log)
            position = check_entered(document, record, keys, heads, now(), log_id)
        except (Refused, Denied) as error:
            # the platform did give its word: that is noted whatever comes of it
            await asyncio.to_thread(self._asked.refused, question, canonical(document), error.code)
            raise
        await asyncio.to_thread(self._asked.answered, question, canonical(record), position)
        return question

    def _told(self, question: Body) -> dict:
        enterprise = question["enterprise"]
        asked = [
            {"question_id": note.question_id, "at": note.asked_at, "answered": note.code is None}
            for note in self._asked.notes(enterprise)
            if note.question_id != question["question_id"]
        ]
        return {"uses": self.of(enterprise), "asked": asked}

    def of(self, enterprise: str) -> list[dict]:
        """What jobs used of one enterprise, oldest first. The caller has made sure who asks."""
        out = []
        for use in self._journal.uses_of(enterprise, str(Purpose.JOINT_TRAINING)):
            entry = self._consents.book.by_id(use["consent_id"])
            assert entry is not None, "a use rests on a consent in the book"
            data = {name: items if isinstance(items, str) else list(items) for name, items in entry.terms.data.items()}
            record = self._log.record_of(use.pop("use"), use["job_id"])
            out.append({**use, "data": data, "record": record})
        return out
