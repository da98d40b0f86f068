"""The node's own small memory (SQLite): the verified feed, jobs, uses of data, released models' digests.

Holds no feature and no label. Everything a restarted node must know to be safe is here.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS feed (seq INTEGER PRIMARY KEY, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS job (
  job_id TEXT PRIMARY KEY, ticket TEXT NOT NULL, state TEXT NOT NULL,
  code TEXT, message TEXT, message_zh TEXT, started_at TEXT NOT NULL, ended_at TEXT
);
CREATE TABLE IF NOT EXISTS use (
  id INTEGER PRIMARY KEY, at TEXT NOT NULL, enterprise TEXT NOT NULL, recipient TEXT NOT NULL,
  purpose TEXT NOT NULL, content TEXT NOT NULL, reference TEXT NOT NULL, consent_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS use_by_enterprise ON use (enterprise);
CREATE TABLE IF NOT EXISTS candidate (sha256 TEXT PRIMARY KEY, job_id TEXT NOT NULL, version TEXT);
CREATE TRIGGER IF NOT EXISTS use_stays BEFORE UPDATE ON use BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS use_kept BEFORE DELETE ON use BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


class Journal:
    """One connection, one lock; every method is a transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(_SCHEMA)
        path.chmod(0o600)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def append_events(self, events: Iterable[dict]) -> None:
        rows = [(event["seq"], json.dumps(event, ensure_ascii=False)) for event in events]
        with self._lock, self._db:
            self._db.executemany("INSERT INTO feed VALUES (?, ?)", rows)

    def events(self) -> Iterator[dict]:
        with self._lock:
            rows = self._db.execute("SELECT event FROM feed ORDER BY seq").fetchall()
        return (json.loads(row[0]) for row in rows)

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
