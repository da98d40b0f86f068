"""Takes pushed batches in, one after the other, in the order of their arrival.

Owns when a batch is tried, tried again and given up. Whether the log of ingestion has a batch already is asked before
every further attempt, so that a service killed at any moment takes a batch in once. Never answers a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from features.catalogue.model import UnknownName
from features.ingest import IngestRefused, Intake, read_file
from features.receive.refused import PushRefused
from features.receive.spool import Pushed, Spool
from features.store import StoreRefused

log = logging.getLogger("creditlab.receive")

#: A batch that ended the process, or failed for no reason of its store, so often is given up.
ATTEMPTS = 5
RETRY_SECONDS = 10.0
#: Of a Parquet file, once it is uncompressed, for each byte that a body may have.
_UNPACKED = 16


class Desk:
    """`run` works until it is cancelled. `max_waiting`: batches of one unit that are received or on their way."""

    def __init__(self, intake: Intake, spool: Spool, *, max_rows: int, max_bytes: int, max_waiting: int) -> None:
        self.intake = intake
        self.spool = spool
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._queue: asyncio.Queue[Pushed] = asyncio.Queue()
        self._open: Counter[str] = Counter()
        self._done: dict[str, asyncio.Event] = {}

    def resume(self) -> None:
        """Takes up what an earlier service left. Before the first batch is received."""
        for batch in self.spool.leftovers():
            self.spool.forget(batch)
        for batch in self.spool.waiting():
            self._open[batch.unit] += 1
            self.enter(batch)

    async def run(self) -> None:
        while True:
            batch = await self._queue.get()
            # not cut off half-way by a graceful end; after any other the next service goes on
            await asyncio.shield(self._settle(batch))

    def reserve(self, unit: str) -> None:
        """Room for one more batch of a unit, until `enter` and its settling, or `release`. Raises PushRefused."""
        if self._open[unit] >= self._max_waiting:
            raise PushRefused(
                429,
                "push_too_many",
                f"{self._max_waiting} batches of {unit} wait already; push again when one is settled",
                f"{unit} 已有 {self._max_waiting} 个批次等待处理，请待其完成后再推送",
                retry_after=10,
            )
        self._open[unit] += 1

    def release(self, unit: str) -> None:
        self._open[unit] -= 1

    def enter(self, batch: Pushed) -> None:
        """Has a batch taken in that was received and has its room."""
        self._done[batch.id] = asyncio.Event()
        self._queue.put_nowait(batch)

    async def settled(self, batch: Pushed, seconds: float) -> Pushed:
        """The batch as it stands when it is settled, or after so many seconds."""
        event = self._done.get(batch.id)
        if event and seconds:
            try:
                await asyncio.wait_for(event.wait(), seconds)
            except TimeoutError:
                pass
        return self.spool.find(batch.id) or batch

    @property
    def waiting(self) -> int:
        return len(self._done)

    async def _settle(self, batch: Pushed) -> None:
        try:
            await asyncio.to_thread(self.take, batch)
        except Exception:
            log.exception("batch %s of %s could not be taken in; it is tried again", batch.id, batch.unit)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._queue.put_nowait, batch)
            return
        self.release(batch.unit)
        self._done.pop(batch.id).set()

    def take(self, batch: Pushed) -> None:
        """One attempt: afterwards the batch is settled, or an exception says what the store lacks."""
        attempt = self.spool.attempt(batch)
        if attempt > 1:
            with self.intake.log.alone():
                pass  # settles what a killed writer left pending
            for entry in self.intake.log.entries("collection"):
                if entry.details.get("push") == batch.id:
                    self.spool.settle(batch, state="taken", seq=entry.seq)
                    return
        if attempt > ATTEMPTS:
            self._refuse(
                batch,
                "push_failed",
                "the batch could not be processed; the operator finds the reason in the log of the service",
                "该批次无法处理，原因见服务日志，请联系运维人员",
            )
            return
        try:
            path = self.spool.data(batch)
            _bounded(path, self._max_rows, self._max_bytes * _UNPACKED)
            raw = replace(read_file(path, batch.encoding), name=f"{batch.id}.{batch.ending}")
            entry = self.intake.ingest(batch.delivery(), raw, {"push": batch.id})
        except (OSError, StoreRefused):
            self.spool.forgive(batch)
            raise
        except (IngestRefused, UnknownName) as refused:
            if refused.code == "ingest_log_damaged":
                self.spool.forgive(batch)
                raise
            self._refuse(batch, refused.code, refused.message, refused.message_zh)
            return
        self.spool.settle(batch, state="taken", seq=entry.seq)

    def _refuse(self, batch: Pushed, code: str, message: str, message_zh: str) -> None:
        problem = {"code": code, "message": message, "message_zh": message_zh}
        self.spool.settle(batch, state="refused", problem=problem)


def _bounded(path: Path, most_rows: int, most_bytes: int) -> None:
    """Refuses what has more rows, or uncompressed bytes, than are handled in memory. Raises IngestRefused."""
    if path.suffix == ".parquet":
        try:
            told = pyarrow.parquet.read_metadata(path)
        except (pa.ArrowInvalid, OSError):
            return  # reading it says what is wrong
        rows = told.num_rows
        size = sum(told.row_group(number).total_byte_size for number in range(told.num_row_groups))
    else:
        with path.open("rb") as stream:
            rows = sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))
        size = 0
    if rows > most_rows + 1 or size > most_bytes:
        raise IngestRefused(
            "push_too_many_rows",
            f"the batch has more than {most_rows} rows, or {most_bytes >> 20} MB uncompressed; push it in parts",
            f"批次超过 {most_rows} 行，或解压后超过 {most_bytes >> 20} MB，请分批推送",
        )
