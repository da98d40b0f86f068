"""Which keys of the platform this node believes: the one it was given at admission, and what follows from it.

The platform's keyring is read from the control plane and kept in the journal. Nobody is believed for handing it out:
the pinned key must have signed one of its statements, each later one must follow from those before, and no shorter or
other history is taken afterwards. Until a keyring is known the pinned key alone counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

from consent import usage_question
from consent.keyring import DOCUMENTS, KeyNotValid, Keyring, KeyringRefused, UnknownKey
from consent.keys import BadSignature, VerifyingKey
from consent.ledger import FixedKeys, HeadKeys
from consent.signed import Document, signer
from consent.times import parse, stamp
from enclave.journal import Journal

log = logging.getLogger("creditlab.platform_keys")
# orders and tickets signed just before a rotation are carried out after it, for no longer than this
HANDOVER = timedelta(days=1)
# what states its time as `at`; everything else that is carried out does as `issued_at`
_AT = ("feed_head", usage_question.TYPE)


def _now() -> str:
    return stamp(datetime.now(UTC))


class PlatformKeys:
    """`fetch` gives the keyring as the control plane tells it; without it, nothing follows the pinned key."""

    def __init__(
        self,
        pinned: VerifyingKey,
        journal: Journal | None = None,
        fetch: Callable[[], Awaitable[bytes]] | None = None,
        clock: Callable[[], str] = _now,
    ) -> None:
        self._pinned = pinned
        self._journal = journal
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._ring: Keyring | None = None
        raw = journal.keyring() if journal is not None else None
        if raw is not None:
            try:
                self._ring = Keyring.read_for(raw, pinned)
            except KeyringRefused as error:  # whoever runs the node has pinned another key since: that is the word
                log.warning("the keyring on record does not belong to the platform key of node.toml: %s", error)

    def current(self, document: Document) -> VerifyingKey:
        """The key that a document of today names, once it may have signed it when the document says.

        The caller verifies the document with it. Raises BadSignature: UnknownKey or KeyNotValid.
        """
        key = signer(document, "platform")
        if self._ring is None:
            return self._only(key)
        body = document.get("body")
        if not isinstance(body, dict):
            raise BadSignature("the body is not an object")
        self._ring.check(key, str(body.get("at" if body.get("type") in _AT else "issued_at")))
        end = self._ring.key(key.key_id).end
        if parse(self._clock()) > parse(end) + HANDOVER:
            raise KeyNotValid(
                f"key {key.key_id} is over since {end}: what it signed is not carried out any more",
                f"密钥 {key.key_id} 已于 {end} 停用：其签署的文件不再执行",
            )
        return key

    def ever(self, document: Document) -> VerifyingKey:
        """The key that a document of the feed names, if it is or was the platform's for documents.

        When it was signed is not asked: the feed's head, by a key that counts today, vouches for every event before it,
        signatures included. Raises UnknownKey or KeyNotValid.
        """
        key = signer(document, "platform")
        if self._ring is None:
            return self._only(key)
        known = self._ring.key(key.key_id)
        if known.public != key:
            raise UnknownKey(f"key {key.key_id} is not on the keyring", f"密钥 {key.key_id} 不在密钥环上")
        if known.use != DOCUMENTS:
            raise KeyNotValid(f"key {key.key_id} may sign keyrings only", f"密钥 {key.key_id} 只可签署密钥环")
        return key

    def head_keys(self) -> HeadKeys:
        """Who may sign heads of the platform's ledger."""
        return FixedKeys(self._pinned) if self._ring is None else self._ring

    def _only(self, key: VerifyingKey) -> VerifyingKey:
        if key != self._pinned:
            raise UnknownKey(
                f"signed by key {key.key_id}, this node was given {self._pinned.key_id}",
                f"签名密钥为 {key.key_id}，本节点所持平台密钥为 {self._pinned.key_id}",
            )
        return key

    async def learn(self, documents: Iterable[Document]) -> None:
        """Asks for the keyring where one of `documents` names a key that is not known; says nothing of its worth.

        Raises what `refresh` raises.
        """
        if self._fetch is None:
            return
        named = {one.get("public_key") for document in documents for one in _platforms(document)}
        known = {self._pinned.b64} if self._ring is None else {key.public.b64 for key in self._ring.keys}
        if named - known:
            await self.refresh()

    async def refresh(self) -> None:
        """Takes the keyring as it is now. Raises KeyringRefused by name, or what `fetch` raises."""
        assert self._fetch is not None
        async with self._lock:
            raw = await self._fetch()
            ring = self._ring
            newer = Keyring.read_for(raw, self._pinned) if ring is None else ring.advance(raw)
            if ring is not None and newer.sequence == ring.sequence:
                return
            if self._journal is not None:
                await asyncio.to_thread(self._journal.keep_keyring, raw)
            self._ring = newer
            log.info("the platform's keyring has %d statements and %d keys", newer.sequence, len(newer.keys))


def _platforms(document: Document) -> list[Document]:
    """The signatures of role platform in what may be anything."""
    try:
        return [one for one in document["signatures"] if one["role"] == "platform" and isinstance(one, dict)]
    except (KeyError, TypeError) as error:
        raise BadSignature("not a signed document: body and signatures are needed") from error
