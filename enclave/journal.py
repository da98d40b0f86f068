"""The node's own small memory (SQLite): the verified feed and the book made of it, jobs, uses of data, models.

Holds no feature and no label. Everything a restarted node must know to be safe is here: the book's rows are written
with the events that changed them, so a start reads them and replays nothing.
"""

from __future__ import annotations

import gc
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from consent.book import ConsentBook
from consent.feed import NOTHING_HEARD, START, Head, link
from consent.signed import Document
from enclave import use_store

_SCHEMA = """
CREATE TABLE IF NOT EXISTS feed (seq INTEGER PRIMARY KEY, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chain (seq INTEGER PRIMARY KEY, digest BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS head (
  one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, chain BLOB NOT NULL, last INTEGER NOT NULL,
  at TEXT NOT NULL, seen_at TEXT NOT NULL, document TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS keyring (one INTEGER PRIMARY KEY CHECK (one = 1), statements BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS book_first (one INTEGER PRIMARY KEY CHECK (one = 1), row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS book_terms (number INTEGER PRIMARY KEY, terms TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS book (seq INTEGER PRIMARY KEY, terms INTEGER NOT NULL, row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS book_word (seq INTEGER PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS dropped (job_id TEXT NOT NULL, enterprise TEXT NOT NULL, PRIMARY KEY (job_id, enterprise));
CREATE TABLE IF NOT EXISTS recalled (sha256 TEXT PRIMARY KEY, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS told_share (release_id TEXT PRIMARY KEY, share REAL NOT NULL);
CREATE TABLE IF NOT EXISTS job (
  job_id TEXT PRIMARY KEY, ticket TEXT NOT NULL, state TEXT NOT NULL,
  code TEXT, message TEXT, message_zh TEXT, started_at TEXT NOT NULL, ended_at TEXT
);
CREATE TABLE IF NOT EXISTS use (
  id INTEGER PRIMARY KEY, at TEXT NOT NULL, enterprise TEXT NOT NULL, recipient TEXT NOT NULL,
  purpose TEXT NOT NULL, content TEXT NOT NULL, reference TEXT NOT NULL, consent_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS use_by_enterprise ON use (enterprise);
CREATE INDEX IF NOT EXISTS use_by_reference ON use (reference);
CREATE INDEX IF NOT EXISTS use_by_consent ON use (consent_id);
CREATE TABLE IF NOT EXISTS question (
  number INTEGER PRIMARY KEY, question_id TEXT NOT NULL UNIQUE, enterprise TEXT NOT NULL, asked_at TEXT NOT NULL,
  noted_at TEXT NOT NULL, position INTEGER, code TEXT, evidence BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS question_by_enterprise ON question (enterprise);
CREATE INDEX IF NOT EXISTS question_answered ON question (noted_at) WHERE code IS NULL;
CREATE TABLE IF NOT EXISTS candidate (sha256 TEXT PRIMARY KEY, job_id TEXT NOT NULL, version TEXT);
CREATE TRIGGER IF NOT EXISTS use_stays BEFORE UPDATE ON use BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS use_kept BEFORE DELETE ON use BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS question_stays BEFORE UPDATE ON question BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS question_kept BEFORE DELETE ON question BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


_ROWS = 500  # read at once: few enough to stay in the processor's cache
_TERMS = 2  # the place of the terms in a row of the book; they are kept once for all that agreed to the same


def _changed(events: Iterable[dict], book: ConsentBook) -> tuple[dict[int, list], list[list]]:
    """The book's rows that events may have changed: of consents by their place, and of what persons said."""
    names: dict[str, set[str]] = {"enterprise": set(), "person": set()}
    for event in events:
        body = event["document"]["body"]
        if "consent_id" in body:
            names["person" if "person" in body else "enterprise"].add(body["consent_id"])
    rows = {row[10]: row for name in names["enterprise"] for row in book.rows_of(name)}
    return rows, [book.word_row(name) for name in sorted(names["person"])]


@contextmanager
def _no_collecting() -> Iterator[None]:
    """While a million objects are made that all stay, looking for garbage among them takes half the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@dataclass(frozen=True)
class Heard:
    """The last signed head, and the latest time by the own clock that is on record."""

    head: Head = NOTHING_HEARD
    seen_at: str = ""


class Journal:
    """One connection, one lock; every method is a transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(_SCHEMA)
        self._db.executescript(use_store.SCHEMA)
        path.chmod(0o600)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection, alone, for what stands or falls together (`enclave.use_log`)."""
        with self._lock, self._db:
            yield self._db

    # -- the platform's keys -----------------------------------------------------------------------------------

    def keyring(self) -> bytes | None:
        with self._lock:
            row = self._db.execute("SELECT statements FROM keyring").fetchone()
        return None if row is None else bytes(row[0])

    def keep_keyring(self, raw: bytes) -> None:
        with self._lock, self._db:
            self._db.execute("INSERT OR REPLACE INTO keyring VALUES (1, ?)", (raw,))

    # -- the feed ----------------------------------------------------------------------------------------------

    def append_events(
        self, events: list[dict], book: ConsentBook, heard: Heard, document: Document, links: dict[int, bytes]
    ) -> None:
        """The events, the book's rows that they changed, and the head that ends them; all or nothing."""
        rows, words = _changed(events, book)
        with self._lock, self._db:
            self._db.executemany(
                "INSERT INTO feed VALUES (?, ?)",
                [(event["seq"], json.dumps(event, ensure_ascii=False)) for event in events],
            )
            self._db.executemany("INSERT INTO chain VALUES (?, ?)", list(links.items()))
            self._keep(book, rows, words)
            self._hear(heard, document)

    def _keep(self, book: ConsentBook, rows: dict[int, list], words: Iterable[list] = ()) -> None:
        numbers: dict[str, int] = {}
        kept = []
        for seq, row in rows.items():
            terms = json.dumps(row[_TERMS], ensure_ascii=False)
            if terms not in numbers:
                self._db.execute("INSERT OR IGNORE INTO book_terms (terms) VALUES (?)", (terms,))
                found = self._db.execute("SELECT number FROM book_terms WHERE terms = ?", (terms,)).fetchone()
                numbers[terms] = found[0]
            rest = [*row[:_TERMS], None, *row[_TERMS + 1 :]]
            kept.append((seq, numbers[terms], json.dumps(rest, ensure_ascii=False)))
        self._db.executemany("INSERT OR REPLACE INTO book VALUES (?, ?, ?)", kept)
        self._db.executemany(
            "INSERT OR REPLACE INTO book_word VALUES (?, ?)",
            [(row[0], json.dumps(row, ensure_ascii=False)) for row in words],
        )
        self._db.execute("INSERT OR REPLACE INTO book_first VALUES (1, ?)", (json.dumps(book.first_row()),))

    def keep(self, book: ConsentBook, chain: bytes) -> None:
        """The whole book, and the feed's chain at its head: a copy to start from."""
        rows = book.dump()
        next(rows)
        with self._lock, self._db:
            self._db.execute("INSERT OR REPLACE INTO chain VALUES (?, ?)", (book.head, chain))
            while part := {row[10]: row for row in islice(rows, 10_000)}:
                self._keep(book, part)
            self._keep(book, {}, book.dump_words())

    def hear(self, heard: Heard, document: Document) -> None:
        """A fresh head that brought no event."""
        with self._lock, self._db:
            self._hear(heard, document)

    def _hear(self, heard: Heard, document: Document) -> None:
        head = heard.head
        self._db.execute(
            "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?, ?, ?, ?)",
            (head.seq, head.chain, head.last, head.at, heard.seen_at, json.dumps(document)),
        )

    def heard(self) -> Heard:
        with self._lock:
            row = self._db.execute("SELECT seq, chain, last, at, seen_at FROM head").fetchone()
        return Heard() if row is None else Heard(Head(*row[:4]), row[4])

    def chain(self, seq: int) -> bytes | None:
        """The feed's chain after event `seq`; None where this node has no such event."""
        if seq == 0:
            return START
        with self._lock:
            row = self._db.execute("SELECT digest FROM chain WHERE seq = ?", (seq,)).fetchone()
        return None if row is None else bytes(row[0])

    def book(self, refused: frozenset[str] = frozenset()) -> ConsentBook:
        """The book as it was last kept, and whatever events are on record beyond it.

        Rows of another version are set aside, and the feed on record is replayed in their stead.
        """
        with self._lock, _no_collecting():
            first = self._db.execute("SELECT row FROM book_first").fetchone()
            book = ConsentBook(refused)
            if first is not None:
                try:
                    book = ConsentBook.load(self._rows(first[0]), refused, self._words())
                except ValueError:
                    with self._db:
                        for table in ("book_first", "book", "book_terms", "book_word", "chain"):
                            self._db.execute(f"DELETE FROM {table}")  # noqa: S608 (own names)
            self._replay(book)
        return book

    def _rows(self, first: str) -> Iterator[list]:
        terms = {number: json.loads(text) for number, text in self._db.execute("SELECT number, terms FROM book_terms")}
        yield json.loads(first)
        found = self._db.execute("SELECT terms, row FROM book ORDER BY seq")
        while part := found.fetchmany(_ROWS):
            rows = json.loads("[" + ",".join([text for _, text in part]) + "]")  # one call for many rows
            for (number, _), row in zip(part, rows, strict=True):
                row[_TERMS] = terms[number]
                yield row

    def _words(self) -> Iterator[list]:
        for (text,) in self._db.execute("SELECT row FROM book_word ORDER BY seq"):
            yield json.loads(text)

    def _replay(self, book: ConsentBook) -> None:
        """Events that were kept without the book's rows: an earlier version's, or those of rows set aside."""
        texts = self._db.execute("SELECT event FROM feed WHERE seq > ? ORDER BY seq", (book.head,)).fetchall()
        if not texts:
            return
        start = self._db.execute("SELECT digest FROM chain WHERE seq = ?", (book.head,)).fetchone()
        chain, links, events = START if start is None else bytes(start[0]), [], []
        for (text,) in texts:
            event = json.loads(text)
            book.apply(event)
            chain = link(chain, event["seq"], event["document"])
            links.append((event["seq"], chain))
            events.append(event)
        rows, words = _changed(events, book)
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO chain VALUES (?, ?)", links)
            self._keep(book, rows, words)

    # -- jobs --------------------------------------------------------------------------------------------------

    def job_started(self, job_id: str, ticket: dict, at: str) -> bool:
        """False when this job is known already (a work item may come twice)."""
        with self._lock, self._db:
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO job (job_id, ticket, state, started_at) VALUES (?, ?, 'running', ?)",
                (job_id, json.dumps(ticket, ensure_ascii=False), at),
            )
        return cursor.rowcount == 1

    def job_ended(self, job_id: str, state: str, code: str, message: str, message_zh: str, at: str) -> None:
        with self._lock, self._db:
            self._db.execute(
                "UPDATE job SET state = ?, code = ?, message = ?, message_zh = ?, ended_at = ? WHERE job_id = ?",
                (state, code, message, message_zh, at, job_id),
            )

    def job(self, job_id: str) -> dict | None:
        found = self._jobs("job_id = ?", (job_id,))
        return found[0] if found else None

    def running(self) -> list[dict]:
        return self._jobs("state = 'running'", ())

    def _jobs(self, where: str, values: tuple) -> list[dict]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT job_id, state, code, message, message_zh FROM job WHERE {where}",  # noqa: S608 (own text)
                values,
            ).fetchall()
        return [dict(zip(("job_id", "state", "code", "message", "message_zh"), row, strict=True)) for row in rows]

    def record_uses(
        self,
        uses: Iterable[tuple[str, str]],
        *,
        at: str,
        recipient: str,
        purpose: str,
        content: str,
        reference: str,
    ) -> None:
        """One row per (enterprise, consent id) whose data is used; written before the use, or the use fails (R46)."""
        rows = [(at, who, recipient, purpose, content, reference, consent_id) for who, consent_id in uses]
        with self._lock, self._db:
            self._db.executemany(
                "INSERT INTO use (at, enterprise, recipient, purpose, content, reference, consent_id)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def uses_of(self, enterprise: str, purpose: str) -> list[dict]:
        """What jobs used of one enterprise, oldest first: {use (its number), at, recipient, job_id, consent_id}."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id, at, recipient, reference, consent_id FROM use"
                " WHERE enterprise = ? AND purpose = ? ORDER BY id",
                (enterprise, purpose),
            ).fetchall()
        return [dict(zip(("use", "at", "recipient", "job_id", "consent_id"), row, strict=True)) for row in rows]

    def past_uses(self, enterprise: str, reference: str) -> dict[str, list[str]]:
        """Consent id → times of its uses so far, one per reference; `reference` itself is not one of them.

        A permit may come twice: its own first use is no reason to refuse it.
        """
        with self._lock:
            rows = self._db.execute(
                "SELECT consent_id, min(at) FROM use WHERE enterprise = ? AND reference != ?"
                " GROUP BY consent_id, reference",
                (enterprise, reference),
            ).fetchall()
        out: dict[str, list[str]] = {}
        for consent_id, at in rows:
            out.setdefault(consent_id, []).append(at)
        return out

    def drop(self, job_id: str, enterprises: Iterable[str]) -> None:
        """Rows that left a job before its last fit: its model does not rest on them."""
        with self._lock, self._db:
            self._db.executemany(
                "INSERT OR IGNORE INTO dropped VALUES (?, ?)", [(job_id, enterprise) for enterprise in enterprises]
            )

    def rests_on(self, job_id: str) -> list[tuple[str, str]]:
        """(enterprise, consent id) of every row that this node admitted to a job and that did not leave it."""
        with self._lock:
            return self._db.execute(
                "SELECT enterprise, consent_id FROM use WHERE reference = ?1 AND enterprise NOT IN"
                " (SELECT enterprise FROM dropped WHERE job_id = ?1)",
                (job_id,),
            ).fetchall()

    def jobs_resting_on(self, consent_id: str) -> list[str]:
        """Finished jobs whose model rests on a consent."""
        with self._lock:
            rows = self._db.execute(
                "SELECT DISTINCT job.job_id FROM use JOIN job ON job.job_id = use.reference"
                " WHERE use.consent_id = ? AND job.state = 'succeeded' AND NOT EXISTS (SELECT 1 FROM dropped"
                " WHERE dropped.job_id = job.job_id AND dropped.enterprise = use.enterprise) ORDER BY job.job_id",
                (consent_id,),
            ).fetchall()
        return [row[0] for row in rows]

    def told_share(self, release_id: str) -> float | None:
        with self._lock:
            row = self._db.execute("SELECT share FROM told_share WHERE release_id = ?", (release_id,)).fetchone()
        return None if row is None else row[0]

    def share_told(self, release_id: str, share: float) -> None:
        with self._lock, self._db:
            self._db.execute("INSERT OR REPLACE INTO told_share VALUES (?, ?)", (release_id, share))

    def recall(self, sha256: str, at: str) -> bool:
        """Marks a model as recalled; False when it was marked before."""
        with self._lock, self._db:
            return self._db.execute("INSERT OR IGNORE INTO recalled VALUES (?, ?)", (sha256, at)).rowcount == 1

    def is_recalled(self, sha256: str) -> bool:
        with self._lock:
            return self._db.execute("SELECT 1 FROM recalled WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def count_uses(self, reference: str) -> int:
        with self._lock:
            return self._db.execute("SELECT count(*) FROM use WHERE reference = ?", (reference,)).fetchone()[0]

    def add_candidate(self, sha256: str, job_id: str, version: str) -> None:
        with self._lock, self._db:
            self._db.execute("INSERT OR REPLACE INTO candidate VALUES (?, ?, ?)", (sha256, job_id, version))

    def candidate_version(self, sha256: str) -> str | None:
        with self._lock:
            row = self._db.execute("SELECT version FROM candidate WHERE sha256 = ?", (sha256,)).fetchone()
        return row[0] if row else None
