"""The node's agent: polls the control plane for signed work, does it, and tells how it went.

It owns the life of the process: registration, the relay's port, running jobs, shutdown. It obeys only documents
signed by the platform key it was admitted with, or by one that follows from it (`enclave.platform_keys`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable
from datetime import UTC, datetime

import httpx

from consent.artefact import MalformedDocument
from consent.keys import BadSignature
from consent.policy import Denied
from consent.ticket import check_ticket
from consent.times import stamp
from enclave import vault
from enclave.airlock import Airlock
from enclave.config import NodeConfig
from enclave.control import WAIT_SECONDS, Control
from enclave.endings import NODE_RESTARTED, NODE_STOPPED, JobEnded, cause_of, state_of
from enclave.gate import Consents
from enclave.jobs import Job
from enclave.journal import Journal
from enclave.meanings import explained
from enclave.permitted import Permitted
from enclave.platform_keys import PlatformKeys
from enclave.recalls import Recalls
from enclave.scoring import ScoreDesk
from enclave.sharing import DataDesk
from enclave.use_log import UseLog, load_key
from enclave.uses import Uses
from features.tables import load_side
from federated.relay.client import RelayClient
from federated.relay.link import Cause, LinkEnded, PeerLink
from federated.relay.server import RelayServer

log = logging.getLogger("creditlab.agent")
RETRY_SECONDS = 2.0
REPORT_SECONDS = 0.3
KEYRING_SECONDS = 600.0


def _now() -> str:
    return stamp(datetime.now(UTC))


class Agent:
    """One domain node. `run` serves until SIGTERM or SIGINT."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        config.state_dir.mkdir(parents=True, exist_ok=True)
        config.state_dir.chmod(0o700)
        self._side = load_side(config.data, config.role, config.party)
        self._journal = Journal(config.state_dir / "journal.sqlite")
        self._control = Control(config.control_url, config.ca, config.token())
        self._platform = PlatformKeys(config.platform(), self._journal, self._control.keyring)
        self._consents = Consents(
            self._journal,
            self._platform,
            self._control.feed,
            config.refuse_evidence,
            lease=config.feed_lease_seconds,
        )
        self._recalls = Recalls(self._journal, self._consents, self._control, self._platform)
        self._use_log = UseLog(
            self._journal,
            load_key(config.state_dir, config.platform().suite),
            config.name,
            self._control,
            self._platform,
            lambda: self._consents.lapsed,
        )
        self._uses = Uses(
            self._journal, self._consents, self._use_log, self._platform, config.session_questions_per_day
        )
        self._zone_key = vault.load_zone_key(config.state_dir) if config.role == "lab" else None
        self._relay = RelayServer(config.identity, config.relay) if config.relay else None
        self._airlock = Airlock(config, self._platform, self._journal, self._control, self._consents, self._recalls)
        permitted = Permitted(self._platform, self._consents, self._journal)
        self._scores = ScoreDesk(config, permitted, self._side, self._airlock)
        self._data = DataDesk(config, permitted)
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task] = set()
        self._handling: set[str] = set()
        self._stop = asyncio.Event()

    # -- life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if self._relay is not None:
            await self._relay.start(self._scores.answer_part, self._airlock.answer_fetch)
        log.info("%s serves %s (%d rows)", self._config.name, self._side.file, self._side.rows)
        try:
            await self._register()
            await self._report_interrupted()
            beside = [asyncio.ensure_future(one) for one in (self._tell_shares(), self._follow_keys())]
            try:
                await self._poll()
            finally:
                for one in beside:
                    one.cancel()
        finally:
            for job in self._jobs.values():
                job.cancel(NODE_STOPPED)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=10)
            if self._relay is not None:
                await self._relay.stop()
            await self._control.close()
            self._journal.close()

    async def _unless_stopped(self, work: Awaitable) -> object | None:
        """The result of `work`, or None when the node is asked to stop first."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None

    async def _persist(self, call: object, *arguments: object) -> None:
        """Tells the control plane something that it must know, again and again until it does or we stop."""
        while True:
            try:
                await call(*arguments)  # type: ignore[operator]
                return
            except httpx.HTTPStatusError as error:
                if error.response.status_code < 500:
                    log.error("the control plane refuses: %s %s", error.response.status_code, error.response.text)
                    return
            except httpx.HTTPError as error:
                log.warning("the control plane does not answer (%s)", type(error).__name__)
            if self._stop.is_set():
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _register(self) -> None:
        description = {
            "role": self._config.role,
            "institution": self._config.institution,
            "relay": self._config.relay,
            "zone_key": vault.public_b64(self._zone_key) if self._zone_key else None,
            "datasets": [explained(self._side.describe()) if self._config.role == "lab" else self._side.describe()],
        }
        await self._unless_stopped(self._persist(self._control.register, description))

    async def _report_interrupted(self) -> None:
        """Jobs that a crash of this node cut off: their sandboxes died with it; say so."""
        for job in self._journal.running():
            await self._unless_stopped(self._finish(job["job_id"], NODE_RESTARTED))

    async def _poll(self) -> None:
        """Takes work as it comes, and the feed whenever it has grown: running jobs hear of it at once."""
        # a head is fetched anew long before the last one's lease is over
        fresh = self._config.feed_lease_seconds / 3
        while not self._stop.is_set():
            try:
                wait = min(WAIT_SECONDS, fresh)
                found = await self._unless_stopped(self._control.work(self._consents.book.head, wait))
            except httpx.HTTPError as error:
                log.warning("no work from the control plane (%s)", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if found is None:
                return
            items, head = found  # type: ignore[misc]
            for item in items:
                self._take(item)
            if head > self._consents.book.head or self._consents.stale_seconds > fresh:
                await self._hear()

    async def _hear(self) -> None:
        try:
            await self._unless_stopped(self._consents.sync())
        except Exception as error:
            # jobs and scores meet the same error and say so; this loop goes on hearing
            log.error("the consent feed was not taken: %s", cause_of(error).message)
            if cause_of(error).code == "internal_error":
                log.exception("consent feed")
            await asyncio.sleep(RETRY_SECONDS)

    async def _tell_shares(self) -> None:
        while True:
            await asyncio.sleep(self._config.share_seconds)
            try:
                await self._recalls.report()
            except Exception:
                log.exception("shares")  # told at the next turn

    async def _follow_keys(self) -> None:
        """Hears of a key that was retired or compromised, also where nothing is signed by a new one yet."""
        while True:
            try:
                await self._platform.refresh()
            except (BadSignature, JobEnded) as error:
                log.error("the platform's keyring was not taken: %s", error)
            await asyncio.sleep(KEYRING_SECONDS)

    def _spawn(self, key: str, work: Awaitable) -> None:
        """Runs one piece of work; the same item coming again meanwhile is ignored."""
        if key in self._handling:
            work.close()  # type: ignore[attr-defined]
            return
        self._handling.add(key)

        async def guarded() -> None:
            try:
                await work
            except Exception:
                log.exception("work item %s failed", key)
                await asyncio.sleep(RETRY_SECONDS)  # it will be offered again: not at once
            finally:
                self._handling.discard(key)

        task = asyncio.ensure_future(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self, item: dict) -> None:
        kind = item.get("kind")
        if kind == "job":
            self._spawn(f"job {item['ticket']['body'].get('job_id')}", self._job(item["ticket"]))
        elif kind == "cancel":
            job = self._jobs.get(item["job_id"])
            if job is not None:
                job.cancel(_cause(item))
            else:
                self._spawn(f"cancel {item['job_id']}", self._cancel_unknown(item))
        elif kind == "score":
            body = item["permit"]["body"]
            self._spawn(f"score {body.get('permit_id')}", self._score(item["permit"]))
        elif kind == "data":
            body = item["permit"]["body"]
            self._spawn(f"data {body.get('permit_id')}", self._share(item["permit"], item.get("request")))
        elif kind == "release":
            self._spawn(f"release {item['order']['body'].get('release_id')}", self._release(item["order"]))
        elif kind == "impact":
            self._spawn(f"impact {item['question']['body'].get('question_id')}", self._impact(item["question"]))
        elif kind == "usage":
            name = f"usage {item['question']['body'].get('question_id')}"
            self._spawn(name, self._usage(item["question"], item.get("record")))
        else:
            log.warning("work of unknown kind %r", kind)

    # -- jobs ------------------------------------------------------------------------------------------------

    async def _job(self, document: dict) -> None:
        try:
            await self._platform.learn([document])
            ticket = check_ticket(document, self._platform.current(document), _now())
        except (BadSignature, MalformedDocument, Denied) as error:
            log.error("refused a ticket: %s", error)
            job_id = str(document.get("body", {}).get("job_id", ""))
            cause = Cause("ticket_refused", f"the ticket was refused: {error}", f"票据被拒绝：{error}")
            await self._tell_state(job_id, cause)
            return
        job_id = ticket["job_id"]
        if not self._journal.job_started(job_id, document, _now()):
            known = self._journal.job(job_id)
            if known is not None and known["state"] != "running":  # our last word was lost: say it again
                cause = Cause(known["code"] or "", known["message"] or "", known["message_zh"] or "")
                await self._tell_state(job_id, cause, known["state"])
            return
        events: asyncio.Queue[dict] = asyncio.Queue()
        sender = asyncio.ensure_future(self._send_events(job_id, events))

        def report(event: dict) -> None:
            events.put_nowait({"at": _now(), **event})

        mine = ticket["parties"][self._config.role]["node"] == self._config.name
        job = Job(
            ticket=ticket,
            party=self._config.role,
            side=self._side,
            consents=self._consents,
            journal=self._journal,
            use_log=self._use_log,
            limits=self._config.limits,
            connect=lambda digest: self._connect(ticket, digest),
            report=report,
            outbox=self._airlock,
            zone_key=self._zone_key,
        )
        self._jobs[job_id] = job
        cause: Cause | None = None
        try:
            if not mine:
                zh = "票据指定了另一个节点"
                raise JobEnded(Cause("ticket_for_another_node", "the ticket names another node", zh))
            await job.run()
        except Exception as error:
            cause = cause_of(error)
            if cause.code == "internal_error":
                log.exception("job %s", job_id)
            else:
                log.warning("job %s ended: %s (%s)", job_id, cause.message, cause.code)
        finally:
            self._jobs.pop(job_id, None)
            events.put_nowait({})
            with contextlib.suppress(asyncio.CancelledError):
                await sender
        await self._finish(job_id, cause)

    async def _finish(self, job_id: str, cause: Cause | None) -> None:
        state = "succeeded" if cause is None else state_of(cause)
        cause = cause or Cause("", "", "")
        self._journal.job_ended(job_id, state, cause.code, cause.message, cause.message_zh, _now())
        await self._tell_state(job_id, cause, state)

    async def _tell_state(self, job_id: str, cause: Cause, state: str | None = None) -> None:
        event = {"at": _now(), "kind": "state", "state": state or state_of(cause)}
        if cause.code:
            event |= {"code": cause.code, "message": cause.message, "message_zh": cause.message_zh}
        await self._persist(self._control.job_events, job_id, [event])

    async def _cancel_unknown(self, item: dict) -> None:
        """A cancelled job that does not run here (any more): answer, so that the control plane can close it."""
        known = self._journal.job(item["job_id"])
        if known is None or known["state"] == "running":
            await self._finish(item["job_id"], _cause(item))
        else:
            cause = Cause(known["code"] or "", known["message"] or "", known["message_zh"] or "")
            await self._tell_state(item["job_id"], cause, known["state"])

    async def _send_events(self, job_id: str, events: asyncio.Queue[dict]) -> None:
        """Batches progress; an empty event ends it."""
        while True:
            batch = [await events.get()]
            await asyncio.sleep(REPORT_SECONDS)
            while not events.empty():
                batch.append(events.get_nowait())
            wanted = [event for event in batch if event]
            if wanted:
                await self._persist(self._control.job_events, job_id, wanted)
            if len(wanted) < len(batch):
                return

    async def _connect(self, ticket: dict, digest: str) -> PeerLink:
        seconds, lab = ticket["deadlines"]["connect"], ticket["parties"]["lab"]
        if self._relay is not None:
            peer = ticket["parties"]["bank"]["node"]
            try:
                return await self._relay.expect(ticket["job_id"], digest, peer, seconds)
            except TimeoutError as error:
                raise LinkEnded(
                    Cause(
                        "peer_absent",
                        f"{peer} did not connect within {seconds:.0f} s",
                        f"{peer} 在 {seconds:.0f} 秒内未连接",
                    )
                ) from error
        return await RelayClient(self._config.identity, lab["relay"], lab["node"]).dial(
            ticket["job_id"], digest, seconds
        )

    # -- scores, data and releases -----------------------------------------------------------------------------------

    async def _score(self, document: dict) -> None:
        permit_id, answer = await self._answered(document, self._scores.score(document))
        await self._persist(self._control.score_answer, permit_id, answer)

    async def _share(self, document: dict, request: dict | None) -> None:
        permit_id, answer = await self._answered(document, self._data.tell(document, request))
        await self._persist(self._control.data_answer, permit_id, answer)

    async def _answered(self, document: dict, work: Awaitable[dict]) -> tuple[str, dict]:
        """The permit's number, and the result or why there is none."""
        permit_id = str(document["body"].get("permit_id", ""))
        try:
            return permit_id, {"result": await work}
        except Exception as error:
            cause = cause_of(error)
            if cause.code == "internal_error":
                log.exception("permit %s", permit_id)
            told = {"code": cause.code, "message": cause.message, "message_zh": cause.message_zh}
            return permit_id, {"error": told}

    async def _impact(self, document: dict) -> None:
        question_id, answer = await self._recalls.answer(document)
        await self._persist(self._control.impact_answer, question_id, answer)

    async def _usage(self, document: dict, record: object) -> None:
        question_id, answer = await self._uses.answer(document, record)
        await self._persist(self._control.usage_answer, question_id, answer)

    async def _release(self, document: dict) -> None:
        release_id, state = await self._airlock.obey(document)
        await self._persist(self._control.release_state, release_id, state)


def _cause(item: dict) -> Cause:
    """The cause that a cancel item carries; a plain cancellation when it names none."""
    if item.get("code"):
        return Cause(str(item["code"]), str(item.get("message", "")), str(item.get("message_zh", "")))
    return Cause("cancelled", "the job was cancelled", "作业已取消")
