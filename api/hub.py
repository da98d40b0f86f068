"""Waking those who wait: PostgreSQL LISTEN/NOTIFY on one connection, fanned out to asyncio events.

A waiter holds no thread and no pooled connection. Notifications come from `Unit.notify`, so they are sent by the
commit itself and reach every process on the same database. A waiter must look for news after it started to
listen and before it waits; on a lost connection everybody is woken to look again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from api.db import NOTIFY_CHANNEL, STEP_DOWN

log = logging.getLogger("creditlab.hub")

# should a notification ever be lost, nobody is late by more than this
RELOOK_SECONDS = 5.0


class Bell:
    """One waiter's bell: rung by topic, waited for with a bound."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Returns when rung, after `seconds`, or after RELOOK_SECONDS: the caller looks for itself each time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), max(0.0, min(seconds, RELOOK_SECONDS)))
        self._event.clear()


class Hub:
    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._bells: dict[str, set[Bell]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closing = False

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._listen(), name="creditlab-hub")

    async def stop(self) -> None:
        self.close()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def close(self) -> None:
        """Releases every waiter for good. Safe to call from a signal handler or another thread."""
        self.closing = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.ring_all)

    def ring_all(self) -> None:
        for bells in self._bells.values():
            for bell in bells:
                bell.ring()

    @contextmanager
    def listen(self, *topics: str) -> Iterator[Bell]:
        bell = Bell()
        for topic in topics:
            self._bells[topic].add(bell)
        try:
            yield bell
        finally:
            for topic in topics:
                self._bells[topic].discard(bell)
                if not self._bells[topic]:
                    del self._bells[topic]

    async def _listen(self) -> None:
        while not self.closing:
            try:
                connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
                async with connection:
                    await connection.execute(STEP_DOWN)
                    await connection.execute(f"LISTEN {NOTIFY_CHANNEL}")
                    self.ring_all()  # whatever was said while nobody listened
                    async for note in connection.notifies():
                        for bell in self._bells.get(note.payload, ()):
                            bell.ring()
            except psycopg.Error as error:
                if not self.closing:
                    log.warning("listening to the database failed, trying again: %s", error)
                await asyncio.sleep(0.5)
