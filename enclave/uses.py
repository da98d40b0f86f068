"""What this node tells an enterprise of the use of its data in joint training; to the enterprise itself, nobody else.

The answer passes through the control plane, which so learns of an enterprise that asks which jobs used it, and of no
other. Owns the answer; who may ask is `consent.usage_question`'s to say, what was used the journal's.
"""

from __future__ import annotations

import asyncio

from consent.artefact import MalformedDocument
from consent.errors import Refused
from consent.policy import Denied
from consent.purposes import Purpose
from consent.usage_question import check_asked
from enclave.endings import JobEnded, cause_of
from enclave.gate import Consents, now
from enclave.journal import Journal
from enclave.use_log import UseLog
from federated.relay.link import Cause


class Uses:
    """One node's answers."""

    def __init__(self, journal: Journal, consents: Consents, log: UseLog) -> None:
        self._journal = journal
        self._consents = consents
        self._log = log

    async def answer(self, document: dict) -> tuple[str, dict]:
        """(question id, what to tell): {"uses": [{at, recipient, job_id, consent_id, data, record}, …]}, or why not.

        `record` is the use in this node's log; None for one of a job that read no row, or from before the log.
        """
        body = document.get("body")
        question_id = str(body.get("question_id", "")) if isinstance(body, dict) else ""
        try:
            await self._consents.sync()
            keys = self._consents.book.keys_of(str(body.get("enterprise"))) if isinstance(body, dict) else frozenset()
            question = check_asked(document, keys, now())
            return question_id, {"uses": await asyncio.to_thread(self.of, question["enterprise"])}
        except MalformedDocument as error:
            cause = Cause("question_refused", f"the question was refused: {error}", "询问无效")
        except Denied as error:
            cause = cause_of(error)
        except Refused as error:
            cause = Cause(error.code, error.message, error.message_zh)
        except JobEnded as error:
            cause = error.cause
        return question_id, {"code": cause.code, "message": cause.message, "message_zh": cause.message_zh}

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
