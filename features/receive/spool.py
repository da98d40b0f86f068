"""Where pushed batches wait: received whole or not at all, and what became of each.

`drafts/` holds what is on its way, `waiting/` what was received and promised, `settled/` one small file for each batch
that was taken in or refused, without its data. A batch moves on in one step, so a killed service leaves a draft, which
the next one throws away, or a batch that waits. Owns these folders; never reads a batch.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from features.ingest import Delivery
from features.receive.refused import SettingsRefused
from features.store.manifest import settle


@dataclass(frozen=True)
class Pushed:
    """One batch that was pushed. `unit`: who pushed it, by its certificate; `order`: of arrival, nanoseconds.

    `state`: `received`, then `taken` (`seq` is its entry in the log of ingestion) or `refused` (`problem` says why).
    """

    id: str
    unit: str
    source: str
    category: str
    object: str
    ending: str
    encoding: str
    backfill: bool
    received_at: str
    collected_at: str = ""
    sha256: str = ""
    bytes: int = 0
    order: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    state: str = "received"
    seq: int = 0
    problem: dict[str, str] | None = None

    def same(self, other: Pushed) -> bool:
        """Whether both are one and the same batch, sent twice."""
        mine = self.unit, self.ending, self.sha256, self.delivery()
        return mine == (other.unit, other.ending, other.sha256, other.delivery())

    def delivery(self) -> Delivery:
        """Who submits is who the certificate names."""
        collected = dt.datetime.fromisoformat(self.collected_at) if self.collected_at else None
        return Delivery(
            source=self.source,
            category=self.category,
            object=self.object,
            method="push",
            submitter=self.unit,
            collected_at=collected,
            backfill=self.backfill,
            columns=self.columns,
            ignore=self.ignore,
            encoding=self.encoding,
        )


class Spool:
    """The folders below `root`, for one service at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._drafts, self._waiting, self._settled = (root / name for name in ("drafts", "waiting", "settled"))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Makes the folders, throws away what was not received whole, keeps a second service out.

        Raises SettingsRefused.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SettingsRefused(
                    "receive_running",
                    f"spool {self.root.name}: another service uses it; stop that one or name another folder",
                    f"暂存文件夹 {self.root.name}：已有服务在使用，请先停止或另设文件夹",
                ) from None
            shutil.rmtree(self._drafts, ignore_errors=True)
            for folder in (self._drafts, self._waiting, self._settled):
                folder.mkdir(exist_ok=True)
            yield

    # ---- receiving -----------------------------------------------------------------------------------------------

    def draft(self) -> Path:
        """A folder for one body on its way."""
        folder = self._drafts / secrets.token_hex(8)
        folder.mkdir()
        return folder

    def receive(self, draft: Path, batch: Pushed) -> bool:
        """From this moment the batch is received. False if one of its id was there already; the draft stays."""
        header = draft / "header.json"
        header.write_text(json.dumps(asdict(batch), ensure_ascii=False), encoding="utf-8")
        for path in (header, draft / f"data.{batch.ending}"):
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        settle(draft)
        if self.find(batch.id):
            return False
        try:
            draft.rename(self._waiting / batch.id)
        except OSError:
            if (self._waiting / batch.id).is_dir():
                return False
            raise
        settle(self._waiting)
        return True

    # ---- asking --------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Pushed | None:
        # a batch that is just being settled is in both folders, then in the second only
        settled, header = self._settled / f"{name}.json", self._waiting / name / "header.json"
        for path in (settled, header, settled):
            try:
                return _read(path)
            except FileNotFoundError:
                continue
        return None

    def waiting(self) -> list[Pushed]:
        """What was received and not settled, in the order of arrival."""
        found = [self.find(folder.name) for folder in self._waiting.iterdir()]
        return sorted((one for one in found if one and one.state == "received"), key=lambda one: one.order)

    def data(self, batch: Pushed) -> Path:
        return self._waiting / batch.id / f"data.{batch.ending}"

    def attempt(self, batch: Pushed) -> int:
        """Counts one more attempt to take the batch in, before it is made; which one it is."""
        path = self._waiting / batch.id / "attempts"
        with path.open("ab") as stream:
            stream.write(b".")
            stream.flush()
            os.fsync(stream.fileno())
        return path.stat().st_size

    def forgive(self, batch: Pushed) -> None:
        """Counts no failure that was not the batch's own; that one attempt was made stays known."""
        with (self._waiting / batch.id / "attempts").open("r+b") as stream:
            stream.truncate(1)

    # ---- settling ------------------------------------------------------------------------------------------------

    def settle(self, batch: Pushed, **outcome: Any) -> None:
        """Keeps what became of a batch and lets go of its data."""
        path = self._settled / f"{batch.id}.json"
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(asdict(replace(batch, **outcome)), stream, ensure_ascii=False)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
        settle(self._settled)
        self.forget(batch)

    def forget(self, batch: Pushed) -> None:
        """Removes the data of a batch that is settled."""
        shutil.rmtree(self._waiting / batch.id)

    def leftovers(self) -> list[Pushed]:
        """Settled batches whose data a killed service left behind."""
        found = [self.find(folder.name) for folder in self._waiting.iterdir()]
        return [one for one in found if one and one.state != "received"]


def _read(path: Path) -> Pushed:
    said = json.loads(path.read_text(encoding="utf-8"))
    return Pushed(**{**said, "ignore": tuple(said["ignore"])})
