"""What two nodes say to each other during a job: rendezvous by topic, heartbeats, and agreement on the gate.

Consents are never sent: both nodes agree on a position of the feed and a moment, and each derives the same set.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable

from federated.relay.link import LinkEnded, PeerLink

BEAT_SECONDS = 5.0
BUSY_CPU_SECONDS = 0.5  # a peer that used more than this between two beats is computing, not stuck


class Conversation:
    """Routes the link's messages by `topic` and keeps the peer informed that we are busy."""

    def __init__(self, link: PeerLink, cpu_seconds: Callable[[], float]) -> None:
        self.link = link
        self._cpu_seconds = cpu_seconds
        self._topics: dict[str, asyncio.Queue[dict]] = defaultdict(asyncio.Queue)
        self._responders: list[tuple[str, Callable[[dict], Awaitable[dict]]]] = []
        self._peer_cpu = 0.0
        self.peer_active_at = time.monotonic()
        self._tasks = [asyncio.ensure_future(self._route()), asyncio.ensure_future(self._beat())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def respond(self, prefix: str, answer: Callable[[dict], Awaitable[dict]]) -> None:
        """From now on messages whose topic starts with `prefix` are answered by `answer` at once."""
        self._responders.append((prefix, answer))

    async def _route(self) -> None:
        while True:
            message = await self.link.messages.get()
            if message["type"] == "beat":
                cpu = float(message.get("cpu", 0.0))
                if cpu - self._peer_cpu > BUSY_CPU_SECONDS:
                    self.peer_active_at = time.monotonic()
                self._peer_cpu = cpu
                continue
            topic = str(message["type"])
            for prefix, answer in self._responders:
                if topic.startswith(prefix):
                    with contextlib.suppress(LinkEnded):
                        await self.link.send({"type": topic, **(await answer(message))})
                    break
            else:
                self._topics[topic].put_nowait(message)

    async def _beat(self) -> None:
        with contextlib.suppress(LinkEnded):
            while True:
                await self.link.send({"type": "beat", "cpu": round(self._cpu_seconds(), 2)})
                await asyncio.sleep(BEAT_SECONDS)

    async def say(self, topic: str, payload: dict) -> None:
        await self.link.send({"type": topic, **payload})

    async def hear(self, topic: str, seconds: float) -> dict:
        """The next message of `topic`. Raises TimeoutError or LinkEnded."""
        waiting = asyncio.ensure_future(self._topics[topic].get())
        await asyncio.wait({waiting, self.link.ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        if self.link.ended.done():
            raise LinkEnded(self.link.ended.result())
        raise TimeoutError(f"{self.link.peer} did not answer {topic!r} within {seconds:.0f} s")

    async def exchange(self, topic: str, payload: dict, seconds: float) -> dict:
        """Say `payload` and hear the peer's word on the same topic."""
        await self.say(topic, payload)
        return await self.hear(topic, seconds)
