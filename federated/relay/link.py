"""One job's conversation between two nodes, whatever carries it.

Owns ordering, metering and the end: node messages (CONTROL), named blobs (BLOB), and the engines' frames (OPEN, DATA,
CLOSE), which it never looks into. When either side ends it, `ended` holds the cause on both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass

from models.channel import BLOB, CHUNK, CONTROL, BadFrame, Frames, encode, encode_control

MAX_BLOB = 1 << 30
FRESH_ENGINE = "ready"  # type of the message by which a node says that it is about to start an engine


@dataclass(frozen=True)
class Cause:
    """Why something ended: a stable code and a sentence for a person in two languages."""

    code: str
    message: str
    message_zh: str


class LinkEnded(Exception):
    """The conversation is over; `cause` says why."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


class PeerLink:
    """Both ends of the relay use this one class; a transport feeds `received` and drains `outgoing`."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.sent_bytes = 0
        self.received_bytes = 0
        self.last_heard = time.monotonic()
        self.outgoing: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=64)
        self.messages: asyncio.Queue[dict] = asyncio.Queue()
        self.engine_frames: asyncio.Queue[tuple[int, int, bytes]] = asyncio.Queue()
        self.ended: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()
        self._frames = Frames()
        self._announced: dict[int, tuple[str, int]] = {}
        self._partial: dict[int, bytearray] = {}
        self._blobs: dict[str, asyncio.Future[bytes]] = {}
        self._blob_number = 0

    # -- sending ---------------------------------------------------------------------------------------------

    async def _put(self, frame: bytes) -> None:
        if self.ended.done():
            raise LinkEnded(self.ended.result())
        put = asyncio.ensure_future(self.outgoing.put(frame))
        await asyncio.wait({put, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        if not put.done():
            put.cancel()
            raise LinkEnded(self.ended.result())
        self.sent_bytes += len(frame)

    async def send(self, message: dict) -> None:
        """One message to the peer node. Raises LinkEnded."""
        await self._put(encode_control(message))

    async def send_frame(self, kind: int, stream: int, payload: bytes) -> None:
        await self._put(encode(kind, stream, payload))

    async def send_blob(self, name: str, data: bytes) -> None:
        self._blob_number += 1
        number = self._blob_number
        await self.send({"type": "blob", "name": name, "bytes": len(data), "stream": number})
        for start in range(0, len(data), CHUNK):
            await self._put(encode(BLOB, number, data[start : start + CHUNK]))

    async def end(self, cause: Cause) -> None:
        """Tell the peer why it is over, and end here too."""
        if self.ended.done():
            return
        goodbye = {
            "type": "end",
            "code": cause.code,
            "message": cause.message,
            "message_zh": cause.message_zh,
        }
        with contextlib.suppress(asyncio.QueueFull):
            self.outgoing.put_nowait(encode_control(goodbye))
        self.finish(cause)

    def finish(self, cause: Cause) -> None:
        """Mark the conversation as over, without a word to the peer."""
        if not self.ended.done():
            self.ended.set_result(cause)
            for future in self._blobs.values():
                if not future.done():
                    future.cancel()

    # -- receiving -------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes from the transport. Raises BadFrame when they are not of the protocol."""
        self.received_bytes += len(data)
        self.last_heard = time.monotonic()
        for kind, stream, payload in self._frames.feed(data):
            if kind == CONTROL:
                self._control(payload)
            elif kind == BLOB:
                self._blob(stream, payload)
            else:
                self.engine_frames.put_nowait((kind, stream, payload))

    def _control(self, payload: bytes) -> None:
        try:
            message = json.loads(payload)
            kind = message["type"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadFrame("a control frame is not an object with a type") from error
        if kind == "blob":
            name, size, stream = str(message["name"]), int(message["bytes"]), int(message["stream"])
            if not 0 <= size <= MAX_BLOB:
                raise BadFrame(f"blob {name} of {size} bytes")
            self._announced[stream] = (name, size)
            self._partial[stream] = bytearray()
            self._complete(stream)
        elif kind == "end":
            self.finish(Cause(str(message["code"]), str(message["message"]), str(message["message_zh"])))
        else:
            if kind == FRESH_ENGINE:  # frames before this word are of an engine that is no more
                while not self.engine_frames.empty():
                    self.engine_frames.get_nowait()
            self.messages.put_nowait(message)

    def _blob(self, stream: int, payload: bytes) -> None:
        if stream not in self._partial:
            raise BadFrame(f"blob {stream} was not announced")
        self._partial[stream] += payload
        self._complete(stream)

    def _complete(self, stream: int) -> None:
        name, size = self._announced[stream]
        if len(self._partial[stream]) > size:
            raise BadFrame(f"blob {name} is longer than announced")
        if len(self._partial[stream]) == size:
            future = self._future(name)
            if not future.done():
                future.set_result(bytes(self._partial.pop(stream)))

    def _future(self, name: str) -> asyncio.Future[bytes]:
        return self._blobs.setdefault(name, asyncio.get_running_loop().create_future())

    async def blob(self, name: str, seconds: float) -> bytes:
        """The named blob, waiting at most `seconds`. Raises LinkEnded or TimeoutError."""
        future = self._future(name)
        done, _ = await asyncio.wait({future, self.ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if future.done() and not future.cancelled():
            return future.result()
        if not done:
            raise TimeoutError(f"{self.peer} did not send {name} within {seconds:.0f} s")
        raise LinkEnded(self.ended.result())
