"""Runs one task in one sandbox to its end: feeds the gate, carries its frames, owns every deadline, kills on stall.

Whatever happens, when `run` returns or raises, no process of the sandbox is left. It never looks into the engine's
frames and keeps only declared outputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from enclave import processes, sandbox
from enclave.conversation import Conversation
from enclave.endings import JobEnded
from federated.relay.link import Cause, LinkEnded
from models.channel import BLOB, CONTROL, BadFrame, Frames, encode, encode_control

log = logging.getLogger("creditlab.supervisor")
MAX_OUTPUT = 512 << 20
SAMPLE_SECONDS = 0.25
WINDOW_SECONDS = 5.0
BUSY_SHARE = 0.1  # a tree that uses less than this share of a core is waiting, not computing


MEETING_STALLED = Cause("meeting_stalled", "the two engines met and then fell silent", "双方引擎连接后无任何进展")


@dataclass
class Result:
    """What a finished task left: declared outputs by name, the phases it went through, its own summary."""

    outputs: dict[str, bytes] = field(default_factory=dict)
    phases: list[dict] = field(default_factory=list)
    summary: dict = field(default_factory=dict)


@dataclass
class Supervisor:
    """One task. `gate(phase)` returns the ids to exclude or raises; `report(event)` is called for every event."""

    runtime: sandbox.Runtime
    module: str
    inputs: Mapping[str, bytes]
    task: dict
    declared: frozenset[str]
    gate: Callable[[str], Awaitable[list[str]]]
    report: Callable[[dict], None]
    limits: sandbox.Limits
    stall_seconds: float
    phase_seconds: float
    behind: Callable[[], bool] = lambda: False  # whether rows are in use that should have left since the last gate
    conversation: Conversation | None = None
    carries_frames: bool = False
    first_phase: str | None = None  # until this phase is over, silence of `first_seconds` ends the attempt
    first_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._result = Result()
        self._pending: dict[int, tuple[str, int, bytearray]] = {}
        self._active_at = time.monotonic()
        self._phase: str | None = None
        self._asked: str | None = None
        self._phase_at = time.monotonic()
        self._phase_cpu = 0.0
        self._phase_peak = 0
        self._cpu = 0.0
        self._finished = asyncio.Event()
        self._gates: list[asyncio.Task] = []
        self._writer: asyncio.StreamWriter | None = None
        self._refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> Result:
        """The result. Raises JobEnded, LinkEnded, or what the gate raised."""
        read_log, write_log = os.pipe()
        try:
            box = sandbox.start(self.runtime, self.module, self.inputs, self.limits, stderr=write_log)
        except sandbox.SandboxUnavailable as error:
            os.close(read_log)
            raise JobEnded(Cause("sandbox_unavailable", str(error), f"沙箱不可用：{error}")) from error
        finally:
            os.close(write_log)
        reader, writer = await asyncio.open_connection(sock=box.channel, limit=1 << 20)
        writer.write(encode_control(self.task))
        self._writer = writer
        jobs: list[asyncio.Future[None]] = [
            asyncio.ensure_future(self._listen(reader, writer)),
            asyncio.ensure_future(self._watch(box)),
            self._refused,
        ]
        keeper = asyncio.ensure_future(self._keep_log(read_log))
        if self.conversation is not None:
            jobs.append(asyncio.ensure_future(self._end_with_peer(self.conversation)))
            if self.carries_frames:
                jobs.append(asyncio.ensure_future(self._from_peer(self.conversation, writer)))
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in jobs:
                if job.done():
                    job.result()  # raises what ended the task
            assert self._finished.is_set()
            return self._result
        finally:
            self._writer = None
            for job in (*jobs, *self._gates):
                job.cancel()
            await asyncio.gather(*jobs, *self._gates, return_exceptions=True)
            with contextlib.suppress(OSError):
                writer.write(encode_control({"type": "stop", "code": "ended"}))
            writer.close()
            await self._kill(box)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(keeper, 2)

    @property
    def cpu_seconds(self) -> float:
        return self._cpu

    @property
    def phases_done(self) -> int:
        return len(self._result.phases)

    # -- the sandbox's side ----------------------------------------------------------------------------------

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        while True:
            try:
                data = await reader.read(1 << 18)
                received = frames.feed(data)
            except (BadFrame, ConnectionError) as error:
                raise _died() from error
            if not data:
                break
            for kind, stream, payload in received:
                self._note_activity(payload)
                if kind == CONTROL:
                    await self._control(json.loads(payload), writer)
                    if self._finished.is_set():
                        return
                elif kind == BLOB:
                    self._blob(stream, payload)
                elif self.carries_frames and self.conversation is not None:
                    await self.conversation.link.send_frame(kind, stream, payload)
        raise _died()

    def _note_activity(self, payload: bytes) -> None:
        # the bridges' own heartbeats are a byte each and say nothing about the engines' progress
        if len(payload) > 1:
            self._active_at = time.monotonic()

    async def _control(self, message: dict, writer: asyncio.StreamWriter) -> None:
        kind = message.get("type")
        if kind == "gate":
            self._asked = str(message["phase"])
            # beside the frames, not before them: the peer may need our engine's last words to reach its own gate
            self._gates.append(asyncio.ensure_future(self._answer_gate(str(message["phase"]), writer)))
            self._gates[-1].add_done_callback(self._gate_answered)
        elif kind == "phase":
            self._on_phase(message)
        elif kind == "progress":
            self.report({"kind": "progress", **{k: message.get(k) for k in ("phase", "done", "total", "note")}})
        elif kind == "output":
            name, size = str(message["name"]), int(message["bytes"])
            if name not in self.declared or size > MAX_OUTPUT:
                raise JobEnded(
                    Cause(
                        "output_not_declared",
                        f"the task tried to hand out {name!r} ({size} bytes), which it may not",
                        f"任务试图输出未声明的内容 {name!r}",
                    )
                )
            self._pending[int(message["stream"])] = (name, size, bytearray())
            self._complete(int(message["stream"]))
        elif kind == "error":
            code, text = str(message["code"]), str(message["message"])
            raise JobEnded(Cause(code, text, str(message.get("message_zh") or text)))
        elif kind == "done":
            if self._pending:
                raise _died()
            self._result.summary = message.get("summary", {})
            self._finished.set()

    async def _answer_gate(self, phase: str, writer: asyncio.StreamWriter) -> None:
        exclude = await self.gate(phase)
        self._active_at = self._phase_at = time.monotonic()
        writer.write(encode_control({"type": "proceed", "phase": phase, "exclude": sorted(exclude)}))
        if self.behind():  # the feed went on while the gate was agreed on
            self.consents_changed()
        await writer.drain()

    def consents_changed(self) -> None:
        """Tells the sandbox to ask the gate again at its next round."""
        if self._writer is not None:
            self._writer.write(encode_control({"type": "changed"}))

    def _gate_answered(self, answer: asyncio.Task) -> None:
        if not answer.cancelled() and (error := answer.exception()) is not None and not self._refused.done():
            self._refused.set_exception(error)

    def _blob(self, stream: int, payload: bytes) -> None:
        if stream in self._pending:
            self._pending[stream][2].extend(payload)
            self._complete(stream)

    def _complete(self, stream: int) -> None:
        name, size, data = self._pending[stream]
        if len(data) >= size:
            self._result.outputs[name] = bytes(data)
            del self._pending[stream]

    def _on_phase(self, message: dict) -> None:
        self._phase = str(message["phase"])
        if message["state"] == "started":
            self._phase_at, self._phase_cpu, self._phase_peak = time.monotonic(), self._cpu_now(), 0
            self.report({"kind": "phase", "phase": self._phase, "state": "started"})
            return
        phase = {
            "name": self._phase,
            "seconds": round(time.monotonic() - self._phase_at, 3),
            # the whole tree, bridge and launcher included: what the party really paid
            "cpu_seconds": round(max(self._cpu_now() - self._phase_cpu, float(message["cpu_seconds"])), 3),
            "peak_rss_mb": round(max(self._phase_peak / (1 << 20), float(message["peak_rss_mb"])), 1),
        }
        self._result.phases.append(phase)
        self.report({"kind": "phase", "phase": self._phase, "state": "done", **phase})

    def _cpu_now(self) -> float:
        return self._cpu

    # -- watching --------------------------------------------------------------------------------------------

    async def _watch(self, box: sandbox.Sandboxed) -> None:
        window_at, window_cpu = time.monotonic(), 0.0
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            self._cpu, resident = await asyncio.to_thread(processes.usage, box.process.pid)
            self._phase_peak = max(self._phase_peak, resident)
            if resident > box.limits.memory_mb << 20:
                raise JobEnded(
                    Cause(
                        "memory_limit",
                        f"the sandbox used more than its {box.limits.memory_mb} MB; raise limits.memory_mb or use less",
                        f"沙箱内存超过上限 {box.limits.memory_mb} MB",
                    )
                )
            if self.behind():  # news may come and a lease may lapse at any time
                self.consents_changed()
            now = time.monotonic()
            if now - window_at >= WINDOW_SECONDS:
                if self._cpu - window_cpu > BUSY_SHARE * (now - window_at):
                    self._active_at = now
                window_at, window_cpu = now, self._cpu
            active = self._active_at
            if self.conversation is not None:
                active = max(active, self.conversation.peer_active_at)
            meeting = self._asked is not None and self._asked == self.first_phase and not self._result.phases
            if meeting and now - active > self.first_seconds:
                raise JobEnded(MEETING_STALLED)
            if now - active > self.stall_seconds:
                raise JobEnded(
                    Cause(
                        "stalled",
                        f"nothing moved on either side for {self.stall_seconds:.0f} s (phase {self._phase})",
                        f"双方 {self.stall_seconds:.0f} 秒内无任何进展（阶段 {self._phase}）",
                    )
                )
            if self._phase is not None and now - self._phase_at > self.phase_seconds:
                raise JobEnded(
                    Cause(
                        "phase_deadline",
                        f"phase {self._phase} took longer than its {self.phase_seconds:.0f} s",
                        f"阶段 {self._phase} 超过时限 {self.phase_seconds:.0f} 秒",
                    )
                )

    async def _end_with_peer(self, conversation: Conversation) -> None:
        raise LinkEnded(await asyncio.shield(conversation.link.ended))

    async def _from_peer(self, conversation: Conversation, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, stream, payload = await conversation.link.engine_frames.get()
            self._note_activity(payload)
            writer.write(encode(kind, stream, payload))
            await writer.drain()

    async def _keep_log(self, fd: int) -> None:
        """The sandbox's own words go to the operator's log, never to the peer or to the control plane."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
        )
        try:
            while data := await reader.read(1 << 16):
                for line in data.decode(errors="replace").splitlines():
                    log.info("%s | %s", self.module, line[:2000])
        finally:
            transport.close()

    async def _kill(self, box: sandbox.Sandboxed) -> None:
        # killing the outermost process ends the PID namespace and with it everything inside
        if box.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(box.process.pid, signal.SIGKILL)
        await asyncio.to_thread(box.process.wait, 10)


def _died() -> JobEnded:
    return JobEnded(
        Cause(
            "engine_died",
            "the sandboxed process ended without a result; the node's log has its last words",
            "沙箱进程异常退出，详情见节点日志",
        )
    )
