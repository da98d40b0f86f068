"""What this node says of models already made: the share of their cohorts that has withdrawn, and whom they rest on.

The control plane is told one number for each release, in hundredths and on a schedule, so that it cannot be read from
a single withdrawal whether that enterprise was in a cohort; and which models rest on a consent only when a withdrawal
signed by the enterprise itself stands in the feed. A recalled model is not used here any more.
"""

from __future__ import annotations

import logging

import httpx

from consent.artefact import MalformedDocument
from consent.book import Entry
from consent.keys import BadSignature
from consent.lifecycle import State
from consent.person import Given
from consent.policy import Denied
from consent.ticket import check_impact_question
from enclave.control import Control
from enclave.endings import JobEnded, cause_of
from enclave.gate import Consents, now
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from federated.relay.link import Cause

log = logging.getLogger("creditlab.recalls")
STEP = 100  # shares are told in hundredths


def coarse(share: float) -> float:
    """The nearest hundredth."""
    return int(share * STEP + 0.5) / STEP


class Recalls:
    """One node's part in recalls."""

    def __init__(self, journal: Journal, consents: Consents, control: Control, platform: PlatformKeys) -> None:
        self._journal = journal
        self._consents = consents
        self._control = control
        self._platform = platform

    def share(self, job_id: str) -> float:
        """Of the rows that a job's model rests on, the part whose consent was withdrawn and not given anew.

        A person who takes the own consent back ends what rests on it just so. What has expired or is paused was used
        rightly and is not counted (PIPL §15).
        """
        book = self._consents.book
        rows = self._journal.rests_on(job_id)
        gone = 0
        for enterprise, consent_id in rows:
            entry = book.by_id(consent_id)
            if entry is None or not self._taken_back(entry):
                continue
            newest = book.entry(enterprise, entry.terms.recipient, entry.terms.purpose)
            gone += newest is None or newest.state is not State.ACTIVE or self._taken_back(newest)
        return gone / len(rows) if rows else 0.0

    def known_share(self, job_id: str) -> float | None:
        """The same, or None where this node has no row of the job on record: then it cannot know."""
        return self.share(job_id) if self._journal.rests_on(job_id) else None

    def _taken_back(self, entry: Entry) -> bool:
        persons = self._consents.book.persons(entry.consent_id, now())
        return entry.state is State.WITHDRAWN or persons is Given.WITHDRAWN

    async def report(self) -> None:
        """Tells the shares that have changed, and takes note of what was recalled."""
        try:
            for release in await self._control.releases():
                if release["state"] == "recalled":
                    if self._journal.recall(release["sha256"], now()):
                        log.warning("model %s was recalled: it is not used any more", release["sha256"])
                    continue
                share, seq = coarse(self.share(release["job_id"])), self._consents.book.head
                # told once before the release, for it to be decided on, and again when the model is in service
                told = release["release_id"] + ("" if release["state"] == "released" else "/asked")
                if share != (self._journal.told_share(told) or 0.0):
                    await self._control.share(release["release_id"], share, seq)
                    self._journal.share_told(told, share)
        except httpx.HTTPError as error:
            log.warning("shares were not told (%s), trying again", type(error).__name__)

    async def answer(self, document: dict) -> tuple[str, dict]:
        """(question id, what to tell): the jobs that rest on a consent, or why this is not said."""
        question_id = str(document["body"].get("question_id", ""))
        try:
            await self._platform.learn([document])
            question = check_impact_question(document, self._platform.current(document), now())
            await self._consents.sync()
            return question_id, {"job_ids": self._resting(question)}
        except (BadSignature, MalformedDocument) as error:
            cause = Cause("question_refused", f"the question was refused: {error}", "询问无效")
        except Denied as error:
            cause = cause_of(error)
        except JobEnded as error:
            cause = error.cause
        return question_id, {"code": cause.code, "message": cause.message, "message_zh": cause.message_zh}

    def _resting(self, question: dict) -> list[str]:
        entry = self._consents.book.by_id(question["consent_id"])
        if entry is None or entry.enterprise != question["enterprise"]:
            raise JobEnded(
                Cause("consent_unknown", "there is no such consent of this enterprise", "没有该企业的此项授权")
            )
        if entry.state is not State.WITHDRAWN:
            raise JobEnded(
                Cause(
                    "consent_not_withdrawn",
                    "which models rest on a consent is told once its enterprise has withdrawn it",
                    "企业撤回授权后，方可告知哪些模型使用了其数据",
                )
            )
        return self._journal.jobs_resting_on(question["consent_id"])
