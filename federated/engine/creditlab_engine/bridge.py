"""The parent process of an engine: between the node's channel and the SecretFlow child.

Owns the child's life, the listeners that stand in for the peer's ports, and the translation between TCP connections
and OPEN / DATA / CLOSE frames. CONTROL and BLOB frames pass between child and node unchanged; of CONTROL it reads
only `task` (which party am I), `stop`, and whether the child has already said how it ended. It never looks into DATA
and never talks to anything but 127.0.0.1 and the inherited descriptor.

Each stream has its own queue, so the loop that reads the node's channel never waits for one slow connection.

The two bridges also tell each other that they are alive, on a stream of their own: an engine may compute for minutes
without sending a byte, so silence of the engines themselves cannot tell a busy peer from a dead one.

A port of the peer is listened on only once the peer's engine listens on it. Until then a connection is refused, as it
would be on a plain network: the engines' links retry what was refused, but a connection that is accepted and then
waits makes them time out, send their greeting twice, and hang in the intersection.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys

from models.channel import BLOB, CLOSE, CONTROL, DATA, OPEN, BadFrame, Frames, encode, encode_control

from .errors import EngineError
from .ports import HEARTBEAT, other, ports_of

CHUNK = 1 << 18
CONNECT_SECONDS = 30.0  # how long an OPEN waits for the own engine to listen
CONNECT_PAUSE = 0.01
STOP_GRACE = 2.0  # seconds between telling the child to stop and killing it
DRAIN_SECONDS = 5.0  # last bytes of a finished child
MAX_BUFFERED = 1 << 30  # bytes waiting for the own engine before the bridge gives up
BEAT_SECONDS = 2.0
LISTEN_PAUSE = 0.05  # between two looks at which ports the own engine listens on
FINISHED = b"+"  # last beat of an engine that has done its part
PEER_GRACE = 10.0  # after such a peer has left: time to finish, too


class Overflow(Exception):
    """The own engine does not read what the peer sends: going on would exhaust memory."""


class Bridge:
    def __init__(self, node: socket.socket, command: list[str], offset: int) -> None:
        self._node_socket, self._command, self._offset = node, command, offset
        self._streams: dict[int, asyncio.Queue[bytes | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.AbstractServer] = []
        self._buffered = 0
        self._party = ""
        self._numbers: itertools.count[int] = itertools.count(1, 2)
        self._reported = False
        self._stopping = False
        self._beats = 0  # stream on which this bridge says that it is alive, and which ports its engine opened
        self._peer_beats: int | None = None  # stream on which the peer's bridge says that it is alive
        self._heard = 0.0
        self._silence = 60.0  # seconds without a beat after which the peer counts as gone
        self._peer_finished = False
        self._peer_lost = asyncio.Event()
        self._draining = asyncio.Lock()

    async def run(self) -> int:
        """Start the child, shuttle frames until it ends or the node says stop. Returns the exit code."""
        ours, theirs = socket.socketpair()
        self._node_reader, self._node = await asyncio.open_unix_connection(sock=self._node_socket)
        self._child_reader, self._child = await asyncio.open_unix_connection(sock=ours)
        process = await asyncio.create_subprocess_exec(
            *self._command,
            str(theirs.fileno()),
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),  # libraries print to stdout; only stderr belongs to this node's log
        )
        theirs.close()
        ended = asyncio.ensure_future(process.wait())
        from_node = asyncio.ensure_future(self._from_node())
        from_child = asyncio.ensure_future(self._from_child())
        peer_lost = asyncio.ensure_future(self._peer_lost.wait())
        await asyncio.wait({ended, from_node, peer_lost}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            # The peer has left, or the node stopped the task, closed the channel or sent something unreadable.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), PEER_GRACE if self._peer_finished else STOP_GRACE)
            if not ended.done():
                process.kill()
        code = await ended
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(from_child, DRAIN_SECONDS)
        if self._pumps:
            await asyncio.wait(self._pumps, timeout=DRAIN_SECONDS if code == 0 else 0.2)
        if code != 0 and not self._reported and not self._stopping:
            if peer_lost.done():
                error = EngineError("peer_silent")
            else:
                error = EngineError("engine_crashed", f"exit code {code}", f"退出码 {code}")
            self._node.write(
                encode_control(
                    {"type": "error", "code": error.code, "message": error.message, "message_zh": error.message_zh}
                )
            )
        if code == 0 and self._beats and not self._stopping:
            self._node.write(encode(DATA, self._beats, FINISHED))
        for server in self._servers:
            server.close()
        leftover = [*self._tasks, from_node, peer_lost]
        for task in leftover:
            task.cancel()
        await asyncio.gather(*leftover, return_exceptions=True)
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            self._node.close()
            await asyncio.wait_for(self._node.wait_closed(), DRAIN_SECONDS)
        return code if code >= 0 else 128 - code

    # ---- node side

    async def _from_node(self) -> None:
        frames = Frames()
        while True:
            data = await self._node_reader.read(CHUNK)
            if not data:
                self._stopping = True
                self._child.close()
                return
            try:
                arrived = frames.feed(data)
            except BadFrame as error:
                print(f"channel unusable: {error}", file=sys.stderr)
                return
            for kind, stream, payload in arrived:
                if kind == CONTROL:
                    if await self._control(payload):
                        return
                elif kind == BLOB:
                    self._child.write(encode(kind, stream, payload))
                elif kind == OPEN:
                    self._opened(stream, int.from_bytes(payload, "big"))
                elif kind == DATA:
                    self._deliver(stream, payload)
                elif kind == CLOSE:
                    self._deliver(stream, None)

    async def _control(self, payload: bytes) -> bool:
        """Pass one CONTROL frame to the child. True when it ends the task."""
        message = json.loads(payload)
        kind = message.get("type")
        if kind == "task":
            self._party = message["party"]
            self._numbers = itertools.count(1 if self._party == "bank" else 2, 2)
            self._silence = float(message["ticket"]["deadlines"]["stall"])
            self._beats = next(self._numbers)
            self._node.write(encode(OPEN, self._beats, HEARTBEAT.to_bytes(2, "big")))
            self._spawn(self._beat(), self._tasks)
            self._spawn(self._announce(), self._tasks)
        self._child.write(encode(CONTROL, 0, payload))
        if kind == "stop":
            self._stopping = True
        return bool(kind == "stop")

    def _opened(self, stream: int, port: int) -> None:
        if port == HEARTBEAT and self._peer_beats is None:
            self._peer_beats = stream
            self._heard = asyncio.get_running_loop().time()
            return
        if port not in ports_of(self._party) or stream in self._streams:
            self._node.write(encode(CLOSE, stream, b""))
            return
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams[stream] = queue
        self._spawn(self._connect(stream, port, queue), self._tasks)

    def _deliver(self, stream: int, payload: bytes | None) -> None:
        if stream == self._peer_beats:
            self._heard = asyncio.get_running_loop().time()
            if payload is None:
                self._peer_lost.set()
            elif payload == FINISHED:
                self._peer_finished = True
            elif len(payload) == 2:
                self._spawn(self._listen(int.from_bytes(payload, "big")), self._tasks)
            return
        queue = self._streams.get(stream)
        if queue is None:
            return  # closed on this side while the peer's bytes were under way
        if payload is None:
            del self._streams[stream]
        else:
            self._buffered += len(payload)
            if self._buffered > MAX_BUFFERED:
                raise Overflow(f"{self._buffered} bytes wait for the engine")
        queue.put_nowait(payload)

    async def _beat(self) -> None:
        """Say that this party is alive, and notice when the peer no longer does."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        try:
            while loop.time() - self._heard < self._silence:
                self._node.write(encode(DATA, self._beats, b"."))
                await asyncio.sleep(BEAT_SECONDS)
            self._peer_lost.set()
        finally:
            self._node.write(encode(CLOSE, self._beats, b""))

    async def _announce(self) -> None:
        """Tell the peer's bridge each port of the own engine as soon as it listens on it."""
        waiting = set(ports_of(self._party))
        while waiting:
            for port in sorted(waiting & {port - self._offset for port in listening()}):
                waiting.remove(port)
                self._node.write(encode(DATA, self._beats, port.to_bytes(2, "big")))
            await asyncio.sleep(LISTEN_PAUSE)

    # ---- child side

    async def _from_child(self) -> None:
        frames = Frames()
        while data := await self._child_reader.read(CHUNK):
            for kind, stream, payload in frames.feed(data):
                if kind == CONTROL and json.loads(payload).get("type") in ("error", "done"):
                    self._reported = True
                self._node.write(encode(kind, stream, payload))
            await self._relieve()

    # ---- connections

    async def _listen(self, port: int) -> None:
        """Stand in for a port that the peer's engine has opened."""
        if port in ports_of(other(self._party)):
            server = await asyncio.start_server(self._accept(port), "127.0.0.1", port + self._offset)
            self._servers.append(server)

    def _accept(self, port: int):  # type: ignore[no-untyped-def]
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            stream = next(self._numbers)
            queue: asyncio.Queue[bytes | None] = asyncio.Queue()
            self._streams[stream] = queue
            self._node.write(encode(OPEN, stream, port.to_bytes(2, "big")))
            await self._serve(stream, queue, reader, writer)

        return handle

    async def _connect(self, stream: int, port: int, queue: asyncio.Queue[bytes | None]) -> None:
        deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port + self._offset)
                break
            except OSError:
                # Bytes of a caller that has hung up meanwhile must not arrive late.
                if stream not in self._streams or asyncio.get_running_loop().time() > deadline:
                    self._end(stream)
                    return
                await asyncio.sleep(CONNECT_PAUSE)
        await self._serve(stream, queue, reader, writer)

    async def _serve(
        self,
        stream: int,
        queue: asyncio.Queue[bytes | None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._spawn(self._pump(stream, reader), self._pumps)
        try:
            while (payload := await queue.get()) is not None:
                self._buffered -= len(payload)
                writer.write(payload)
                await writer.drain()
        except OSError:
            pass  # the engine closed first; the pump sends CLOSE
        finally:
            writer.close()

    async def _pump(self, stream: int, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(CHUNK):
                self._node.write(encode(DATA, stream, data))
                await self._relieve()
        except OSError:
            pass
        finally:
            self._end(stream)

    async def _relieve(self) -> None:
        """Wait until the node has read enough. One at a time: before Python 3.11 two waiters in drain() fail."""
        async with self._draining:
            await self._node.drain()

    def _end(self, stream: int) -> None:
        """Forget a stream, tell the peer, and let its writer finish."""
        queue = self._streams.pop(stream, None)
        if queue is not None:
            queue.put_nowait(None)
            self._node.write(encode(CLOSE, stream, b""))

    def _spawn(self, coroutine, group: set[asyncio.Task[None]]) -> asyncio.Task[None]:  # type: ignore[no-untyped-def]
        task = asyncio.ensure_future(coroutine)
        group.add(task)
        task.add_done_callback(group.discard)
        task.add_done_callback(_complain)
        return task


def _complain(task: asyncio.Task[None]) -> None:
    """A task that dies unheard would look like a silent peer."""
    if not task.cancelled() and task.exception() is not None:
        print(f"bridge task failed: {task.exception()!r}", file=sys.stderr)


def listening() -> set[int]:
    """TCP ports on which somebody in this network namespace listens (state 0A of /proc/net/tcp and tcp6)."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as lines:
            for line in lines:
                fields = line.split()
                if len(fields) > 3 and fields[3] == "0A":
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def run(channel_fd: int, inputs: str, offset: int, child: str = "creditlab_engine.child") -> int:
    """Run the bridge on the inherited descriptor until the process behind it (module `child`) ends."""
    command = [
        sys.executable,
        "-m",
        child,
        "--inputs",
        inputs,
        "--port-offset",
        str(offset),
        "--channel-fd",
    ]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interactive Ctrl-C is the node's to handle
    node = socket.socket(fileno=channel_fd)
    os.set_inheritable(channel_fd, False)
    return asyncio.run(Bridge(node, command, offset).run())
