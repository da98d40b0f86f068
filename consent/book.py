"""The book of consents: what the ordered feed of answers, transitions and institution states says at a moment.

In memory, compact and pure; the control plane's table and a node's journal both replay into it. It keeps of each
consent what decisions need and no document. It trusts its caller to have verified each document (`verify_event`), and
it refuses a feed with a gap. It answers for any position of the feed, so that two nodes can agree on one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from consent import artefact, person
from consent.evidence import NotTheEnterprise, NotThePerson, check_follows
from consent.keys import VerifyingKey
from consent.lifecycle import STANDING, Action, Life, State, apply, ended, succession
from consent.person import Given, Need, Word
from consent.policy import Facts, check
from consent.purposes import PURPOSE_MODES, PURPOSES, Purpose
from consent.signed import Document, signatory, verify

_ROWS = 2  # version of the rows
_SHARED = 10_000  # terms to look up by the object that holds them; there are a handful
Uses = Mapping[str, Sequence[str]]  # consent id -> times of its uses so far


class FeedGap(Exception):
    """An event is missing or repeated: nothing after it may be believed until the feed is read again."""


def verify_event(event: Mapping[str, Any], platform: VerifyingKey) -> None:
    """Checks form and signatures of one feed event: the platform's, and the enterprise's or person's who must sign.

    Raises BadSignature or MalformedDocument.
    """
    document: Document = event["document"]
    body = verify(document, "platform", platform)
    kind = artefact.check(body)
    if (signer := artefact.signer_of(body)) != "platform":
        verify(document, signer)
    if kind != event["kind"]:
        raise artefact.MalformedDocument(
            f"kind: the feed says {event['kind']!r}, the document is a {kind}",
            f"kind：授权事件标为 {event['kind']!r}，文件实为 {kind}",
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """What consents have in common; one object serves all that agreed to the same."""

    recipient: str
    provider: str
    purpose: str
    modes: frozenset[str]
    data: Mapping[str, Any]
    window_months: int
    total: int | None
    count: int | None
    period_days: int | None
    evidence: str
    persons: bool = False  # each consent to these names persons whose own it needs (`ConsentBook.need`)

    @property
    def limited(self) -> bool:
        return self.total is not None or self.count is not None


class Entry:
    """One consent or refusal and what became of it. `changes` are (feed position, state, time) after the first."""

    __slots__ = (
        "_head", "at", "changes", "consent_id", "earlier", "enterprise", "first", "key", "seq", "sequence",
        "terms", "valid_from", "valid_until",
    )  # fmt: skip

    def __init__(
        self, life: Life, enterprise: str, terms: Terms, key: bytes, valid_from: str, seq: int, earlier: Entry | None
    ) -> None:
        self.consent_id = life.consent_id
        self.enterprise = enterprise
        self.terms = terms
        self.key = key
        self.first = life.state
        self.sequence = life.sequence
        self.at = life.at
        self.valid_from = valid_from
        self.valid_until = life.valid_until
        self.seq = seq
        self.earlier = earlier  # what stood for the same enterprise, recipient and purpose before
        self.changes: tuple[tuple[int, State, str], ...] = ()
        self._head = bytes.fromhex(life.head)

    @property
    def state(self) -> State:
        return self.changes[-1][1] if self.changes else self.first

    @property
    def head(self) -> str:
        """Digest of the last document: what the next one must name as `previous`."""
        return self._head.hex()

    @property
    def life(self) -> Life:
        return Life(self.consent_id, self.state, self.sequence, self.head, self.at, self.valid_until)

    def state_by(self, seq: int) -> State:
        """The state as of a feed position at or after the entry's own."""
        state = self.first
        for position, after, _ in self.changes:
            if position > seq:
                break
            state = after
        return state

    def since(self, state: State, seq: int) -> str | None:
        """When the entry came into `state`, by feed position `seq`; None when it did not."""
        found = [at for position, after, at in self.changes if after is state and position <= seq]
        return found[-1] if found else None

    def move(self, life: Life, seq: int) -> None:
        self.changes = (*self.changes, (seq, life.state, life.at))
        self.sequence, self.at, self._head = life.sequence, life.at, bytes.fromhex(life.head)


class ConsentBook:
    """Replays feed events in order. `head` is the sequence number of the last one.

    A consent given by a kind of evidence that `refused` names is kept and covers nothing: what counts as proof is for
    the owner of the data to say.
    """

    def __init__(self, refused: frozenset[str] = frozenset()) -> None:
        self.refused = refused
        self.head = 0
        self._by_id: dict[str, Entry] = {}
        self._newest: dict[tuple[str, str], dict[str, Entry]] = {}  # (recipient, purpose) -> enterprise -> entry
        self._terms: dict[Any, Terms] = {}
        self._plain: dict[int, Any] = {}  # id of terms -> what they were made of
        self._texts: dict[str, str] = {}  # times repeat: one object for equal ones
        self._institutions: dict[str, list[tuple[int, str]]] = {}
        self._needs: dict[str, Need] = {}  # consent id -> what it asks of persons; only of those that do
        self._words: dict[str, list[Word]] = {}  # reference -> what its person said, oldest first
        self._references: dict[str, str] = {}  # number of a person's consent or refusal -> its reference

    # ---- taking events

    def apply(self, event: Mapping[str, Any]) -> None:
        """Takes the next event, or leaves the book as it was.

        Raises FeedGap for a wrong number, BadSignature for a stranger's document, MalformedDocument for an unknown or
        used consent id, and a LifecycleError for what its consent's life does not allow.
        """
        seq = event["seq"]
        if seq != self.head + 1:
            raise FeedGap(f"event {seq} follows {self.head}: read the feed again from there")
        document = event["document"]
        body = document["body"]
        if body["type"] == "institution_state":
            self._institutions.setdefault(body["institution"], []).append((seq, body["state"]))
        elif body["type"] == "transition":
            self._move(document, body, seq)
        elif body["type"] in (person.WITHDRAWAL, person.EXPIRY):
            self._end_word(body, seq)
        elif artefact.signer_of(body) == "person":
            self._say(body, seq)
        else:
            self._answer(document, body, seq)
        self.head = seq

    def _move(self, document: Document, body: Mapping[str, Any], seq: int) -> None:
        entry = self._by_id.get(body["consent_id"])
        if entry is None:
            raise artefact.MalformedDocument(
                f"consent_id: {body['consent_id']} is not known", f"consent_id：没有授权 {body['consent_id']}"
            )
        if entry.enterprise != body["enterprise"]:
            raise NotTheEnterprise(f"consent {entry.consent_id} is not one of {body['enterprise']}")
        if artefact.signer_of(body) == "enterprise":
            check_follows(entry.key, signatory(document), body["action"], entry.consent_id)
        if entry.state is State.WITHDRAWN and body["action"] == Action.WITHDRAW:
            return  # withdrawn is final: the first withdrawal counts, and a second is no harm
        entry.move(apply(entry.life, body), seq)

    def _unused(self, consent_id: str) -> None:
        if consent_id in self._by_id or consent_id in self._references:
            raise artefact.MalformedDocument(
                f"consent_id: {consent_id} is used already", f"consent_id：{consent_id} 已被使用"
            )

    def _say(self, body: Mapping[str, Any], seq: int) -> None:
        """A person's consent or refusal: the newest word under a reference counts."""
        self._unused(body["consent_id"])
        terms = {name: body[name] for name in person.OFFERED}
        word = Word(apply(None, body), body["offered"], terms, body["valid_from"], body["evidence"]["kind"], seq)
        self._words.setdefault(word.offered, []).append(word)
        self._references[body["consent_id"]] = word.offered

    def _end_word(self, body: Mapping[str, Any], seq: int) -> None:
        """A person takes the own consent back, or the platform says that it has run out."""
        word = self.word(body["consent_id"])
        if word is None:
            raise artefact.MalformedDocument(
                f"consent_id: {body['consent_id']} is not known", f"consent_id：没有同意书 {body['consent_id']}"
            )
        if (word.terms["person"], word.terms["enterprise"]) != (body["person"], body["enterprise"]):
            raise NotThePerson(f"consent {body['consent_id']} is not one of {body['person']}")
        if word.life.state is State.WITHDRAWN and body["type"] == person.WITHDRAWAL:
            return  # withdrawn is final: the first withdrawal counts
        life = apply(word.life, body)
        said = self._words[word.offered]
        said[said.index(word)] = replace(word, life=life, ended=(seq, life.at))

    def _answer(self, document: Document, body: Mapping[str, Any], seq: int) -> None:
        self._unused(body["consent_id"])
        subjects = self._newest.setdefault((body["recipient"], body["purpose"]), {})
        standing = subjects.get(body["enterprise"])
        life = apply(None, body)
        action = succession(None if standing is None else standing.life, body)
        entry = Entry(
            replace(life, at=self._same(life.at), valid_until=self._same(life.valid_until)),
            body["enterprise"], self._interned(body), signatory(document),
            self._same(body["valid_from"]), seq, standing,
        )  # fmt: skip
        if standing is not None and action is not None:
            standing.move(ended(standing.life, action, life.at, life.head), seq)
        self._by_id[entry.consent_id] = entry
        if entry.terms.persons:
            self._needs[entry.consent_id] = person.need_of(body)
        if standing is None or action is not None or standing.state not in STANDING:
            subjects[entry.enterprise] = entry
        # else: the refusal of a renewal, which leaves what stands

    def _same(self, text: str) -> str:
        return self._texts.setdefault(text, text)

    def _interned(self, body: Mapping[str, Any]) -> Terms:
        limits = body["limits"]
        data = tuple((name, items if isinstance(items, str) else tuple(items)) for name, items in body["data"].items())
        plain = (
            body["recipient"], body["provider"], body["purpose"], tuple(body["modes"]), data, body["window_months"],
            limits["total"], limits["count"], limits["period_days"], body["evidence"]["kind"],
            *((True,) if body["persons"] else ()),
        )  # fmt: skip
        return self._terms_of(plain)

    def _terms_of(self, plain: tuple[Any, ...]) -> Terms:
        if (found := self._terms.get(plain)) is None:
            recipient, provider, purpose, modes, data, *numbers = plain
            found = Terms(recipient, provider, purpose, frozenset(modes), dict(data), *numbers)
            self._terms[plain], self._plain[id(found)] = found, plain
        return found

    # ---- answering

    def entry(self, enterprise: str, recipient: str, purpose: str, seq: int | None = None) -> Entry | None:
        """The newest word of this enterprise for this recipient and purpose, as of feed position `seq`."""
        found = self._newest.get((recipient, str(purpose)), {}).get(enterprise)
        while found is not None and seq is not None and found.seq > seq:
            found = found.earlier
        return found

    def by_id(self, consent_id: str) -> Entry | None:
        """The consent or refusal of this number."""
        return self._by_id.get(consent_id)

    def persons(self, consent_id: str, at: str, seq: int | None = None) -> Given:
        """Whether the persons whom a consent names have given their own, at `at` and by feed position `seq`."""
        need = self._needs.get(consent_id)
        if need is None:
            return Given.NONE_NEEDED
        return person.judge(need, lambda name: self._word(name, seq), at, seq=seq, refused=self.refused)

    def _word(self, reference: str, seq: int | None) -> Word | None:
        said = [word for word in self._words.get(reference, ()) if seq is None or word.seq <= seq]
        return said[-1] if said else None

    def word(self, consent_id: str) -> Word | None:
        """The person's consent or refusal of this number."""
        said = self._words.get(self._references.get(consent_id, ""), ())
        return next((word for word in said if word.life.consent_id == consent_id), None)

    def keys_of(self, enterprise: str) -> frozenset[bytes]:
        """Who has signed consents and refusals of this enterprise (`consent.signed.signatory`)."""
        found = set()
        for subjects in self._newest.values():
            entry = subjects.get(enterprise)
            while entry is not None:
                found.add(entry.key)
                entry = entry.earlier
        return frozenset(found)

    def institution_state(self, institution: str, seq: int | None = None) -> str:
        """The feed's last word on an institution, as of position `seq`.

        An institution that the feed does not speak of is active: the platform's signature on the ticket or permit
        that names it says that it was admitted.
        """
        bound = self.head if seq is None else seq
        said = [state for position, state in self._institutions.get(institution, ()) if position <= bound]
        return said[-1] if said else "active"

    def facts(
        self,
        enterprise: str,
        recipient: str,
        purpose: str,
        at: str,
        *,
        provider: str | None = None,
        use: str | None = None,
        data: Mapping[str, Any] | None = None,
        window_months: int | None = None,
        used: Uses | None = None,
        last_seen_at: str | None = None,
    ) -> Facts:
        """The facts that the scopes `score` and `query` ask for.

        `use` is by default what the purpose is for; with `provider`, a consent to another one's data is none; `used`
        are the uses so far, needed where the consent limits them.
        """
        entry = self.entry(enterprise, recipient, purpose)
        if entry is not None and provider is not None and entry.terms.provider != provider:
            entry = None
        return facts_of(
            entry,
            at,
            None if used is None or entry is None else used.get(entry.consent_id, ()),
            purpose=str(purpose),
            institution=self.institution_state(recipient),
            use=_primary(purpose) if use is None else use,
            data=data,
            window_months=window_months,
            last_seen_at=last_seen_at,
            persons=None if entry is None else self.persons(entry.consent_id, at),
            refused_evidence=entry.terms.evidence
            if entry is not None and entry.terms.evidence in self.refused
            else None,
        )

    def live(self, enterprise: str, recipient: str, purpose: str, at: str, **more: Any) -> Entry:
        """The live consent; `more` as for `facts`. Raises Denied (scope `score`) with the reason when there is none."""
        check("score", self.facts(enterprise, recipient, purpose, at, **more))
        entry = self.entry(enterprise, recipient, purpose)
        assert entry is not None
        return entry

    def covered(
        self,
        recipient: str,
        purpose: str,
        at: str,
        seq: int | None = None,
        *,
        provider: str | None = None,
        used: Uses | None = None,
    ) -> frozenset[str]:
        """Every enterprise with a live consent, as of feed position `seq` (the head when None).

        A consent that limits its uses counts only while `used` shows that some are left. Empty for an institution
        that is not active.
        """
        bound = self.head if seq is None else seq
        if self.institution_state(recipient, bound) != "active":
            return frozenset()
        newest = self._newest.get((recipient, str(purpose)), {})
        return frozenset(who for who, entry in newest.items() if self._covers(entry, at, bound, provider, used))

    def covers(
        self,
        enterprise: str,
        recipient: str,
        purpose: str,
        at: str,
        seq: int | None = None,
        *,
        provider: str | None = None,
        used: Uses | None = None,
    ) -> bool:
        """Whether `covered` holds this enterprise, without looking at any other."""
        bound = self.head if seq is None else seq
        newest = self._newest.get((recipient, str(purpose)), {}).get(enterprise)
        return (
            newest is not None
            and self.institution_state(recipient, bound) == "active"
            and self._covers(newest, at, bound, provider, used)
        )

    def _covers(self, newest: Entry, at: str, bound: int, provider: str | None, used: Uses | None) -> bool:
        entry: Entry | None = newest
        while entry is not None and entry.seq > bound:
            entry = entry.earlier
        return (
            entry is not None
            and (entry.state_by(bound) if entry.changes else entry.first) is State.ACTIVE
            and entry.valid_from <= at < entry.valid_until
            and entry.terms.evidence not in self.refused
            and (provider is None or entry.terms.provider == provider)
            and (not entry.terms.limited or _uses_left(entry, at, used))
            and (not entry.terms.persons or self.persons(entry.consent_id, at, bound) is Given.GIVEN)
        )

    # ---- a copy to start from

    def dump(self) -> Iterator[list[Any]]:
        """The book of consents as rows of JSON values, oldest first: what a node keeps so that it need not replay.

        The first row is [version, head, institution states]; what persons said is in `dump_words`.
        """
        yield self.first_row()
        for entry in self._by_id.values():
            yield self._row(entry)

    def first_row(self) -> list[Any]:
        """[version, head, institution states]: what `load` begins with."""
        return [_ROWS, self.head, {name: [list(one) for one in said] for name, said in self._institutions.items()}]

    def rows_of(self, consent_id: str) -> list[list[Any]]:
        """The rows of `dump` that an event of this consent may have changed: its own, and what stood before it."""
        entry = self._by_id[consent_id]
        return [self._row(one) for one in (entry, entry.earlier) if one is not None]

    def dump_words(self) -> Iterator[list[Any]]:
        """What persons said, as rows of JSON values in the order of the feed."""
        for word in sorted((word for said in self._words.values() for word in said), key=lambda word: word.seq):
            yield self._word_row(word)

    def word_row(self, consent_id: str) -> list[Any]:
        """The row of `dump_words` of this number; its first value is the word's place in the feed."""
        word = self.word(consent_id)
        assert word is not None
        return self._word_row(word)

    @staticmethod
    def _word_row(word: Word) -> list[Any]:
        life = word.life
        return [
            word.seq, life.consent_id, life.state, life.sequence, life.head, life.at, life.valid_until, word.offered,
            dict(word.terms), word.valid_from, word.evidence, word.ended,
        ]  # fmt: skip

    def _row(self, entry: Entry) -> list[Any]:
        subjects = self._newest.get((entry.terms.recipient, entry.terms.purpose), {})
        return [
            entry.consent_id, entry.enterprise, self._plain[id(entry.terms)], entry.key.hex(), entry.first,
            entry.sequence, entry.head, entry.at, entry.valid_from, entry.valid_until, entry.seq,
            None if entry.earlier is None else entry.earlier.consent_id, entry.changes,
            subjects.get(entry.enterprise) is entry,
            *self._need_row(entry),
        ]  # fmt: skip

    def _need_row(self, entry: Entry) -> list[Any]:
        need = self._needs.get(entry.consent_id)
        return [] if need is None else [[[list(one) for one in need.persons], dict(need.terms)]]

    @classmethod
    def load(
        cls,
        rows: Iterable[Sequence[Any]],
        refused: frozenset[str] = frozenset(),
        words: Iterable[Sequence[Any]] = (),
    ) -> ConsentBook:
        """A book from what `dump` and `dump_words` gave, faster where rows share the object of their terms.

        Raises ValueError for rows of another version, or that do not fit each other.
        """
        book = cls(refused)
        lines = iter(rows)
        version, book.head, institutions = next(lines)
        if version != _ROWS:
            raise ValueError(f"version: {_ROWS} of a book's rows is needed, found {version!r}: replay the feed instead")
        book._institutions = {name: [(seq, state) for seq, state in said] for name, said in institutions.items()}
        # a node reads a million rows at its start: what is the same for many is looked up, not made again
        shared: dict[int, tuple[Sequence[Any], Terms, dict[str, Entry]]] = {}
        by_id, same, new, unhex = book._by_id, book._texts.setdefault, Entry.__new__, bytes.fromhex
        states = {str(state): state for state in State}
        try:
            for (
                consent_id, enterprise, plain, key, first, sequence, head, at, valid_from, until, seq, earlier, changes,
                current, *need,
            ) in lines:  # fmt: skip
                if (known := shared.get(id(plain))) is None:
                    if len(shared) >= _SHARED:
                        shared.clear()
                    known = shared[id(plain)] = (plain, *book._read_terms(plain))
                _, terms, newest = known
                entry = new(Entry)
                entry.consent_id, entry.enterprise, entry.terms, entry.key = consent_id, enterprise, terms, unhex(key)
                entry.first, entry.sequence, entry._head, entry.seq = states[first], sequence, unhex(head), seq
                entry.at, entry.valid_from = same(at, at), same(valid_from, valid_from)
                entry.valid_until = same(until, until)
                entry.earlier = None if earlier is None else by_id[earlier]
                entry.changes = tuple([(place, states[to], on) for place, to, on in changes]) if changes else ()
                by_id[consent_id] = entry
                if current:
                    newest[enterprise] = entry
                if terms.persons:
                    if not need:
                        raise ValueError(f"a row of {consent_id} says nothing of its persons: replay the feed instead")
                    persons, asked = need[0]
                    book._needs[consent_id] = Need(tuple((role, name) for role, name in persons), asked)
            for (
                seq, consent_id, state, sequence, head, at, until, offered, told, valid_from, evidence, over,
            ) in words:  # fmt: skip
                life = Life(consent_id, states[state], sequence, head, at, until)
                word = Word(life, offered, told, valid_from, evidence, seq, None if over is None else tuple(over))
                book._words.setdefault(offered, []).append(word)
                book._references[consent_id] = offered
        except KeyError as error:
            raise ValueError(f"a row names state or consent {error}, which is not known: replay the feed") from error
        return book

    def _read_terms(self, plain: Sequence[Any]) -> tuple[Terms, dict[str, Entry]]:
        """Terms as a row has them, and the newest entries of their recipient and purpose."""
        recipient, provider, purpose, modes, data, *numbers = plain
        frozen = tuple((name, items if isinstance(items, str) else tuple(items)) for name, items in data)
        terms = self._terms_of((recipient, provider, purpose, tuple(modes), frozen, *numbers))
        return terms, self._newest.setdefault((recipient, purpose), {})


def _primary(purpose: str) -> str | None:
    return PURPOSE_MODES[Purpose(purpose)][0] if purpose in PURPOSES else None


def in_period(used: Sequence[str], at: str, days: int) -> int:
    """How many of the uses fall into the `days` before `at`."""
    if not used:
        return 0
    # on the path of every score: many times as fast as consent.times, for the same fixed form
    since = (datetime.fromisoformat(at) - timedelta(days=days)).isoformat()[:19] + "Z"
    return sum(since < one for one in used)


def _uses_left(entry: Entry, at: str, used: Uses | None) -> bool:
    if used is None:
        return False
    terms, past = entry.terms, used.get(entry.consent_id, ())
    if terms.total is not None and len(past) >= terms.total:
        return False
    return terms.count is None or terms.period_days is None or in_period(past, at, terms.period_days) < terms.count


def facts_of(entry: Entry | None, at: str, used: Sequence[str] | None = None, **act: Any) -> Facts:
    """What a consent says to the scopes `score` and `query`.

    `used` are the times of its uses so far; `act` the facts about what is to be done and by whom.
    """
    if entry is None:
        return Facts(at=at, **act)
    terms = entry.terms
    recent = None if used is None or terms.period_days is None else in_period(used, at, terms.period_days)
    return Facts(
        at=at,
        consent_state=entry.state,
        withdrawn_at=entry.since(State.WITHDRAWN, entry.changes[-1][0]) if entry.changes else None,
        valid_from=entry.valid_from,
        valid_until=entry.valid_until,
        consented_modes=terms.modes,
        consented_data=terms.data,
        consented_window_months=terms.window_months,
        max_uses=terms.total,
        uses=None if used is None else len(used),
        max_uses_in_period=terms.count,
        uses_in_period=recent,
        **act,
    )
