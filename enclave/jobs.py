"""One job at one party, from its verified ticket to its end: connect, agree, gate, compute, hand over.

The flows of both modes and both parties read top to bottom here; how a sandbox is run is `supervisor`, what two
nodes say is `conversation`, who may enter is `gate`, what may leave is `airlock`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from consent.ticket import ticket_digest
from enclave import sandbox, vault
from enclave.conversation import Conversation
from enclave.endings import CANCELLED, JobEnded, cause_of
from enclave.gate import Consents, JobGate, Moment, News, agree, now
from enclave.journal import Journal
from enclave.supervisor import Result, Supervisor
from enclave.use_log import UseLog
from features.tables import Side, select
from federated.relay.link import FRESH_ENGINE, Cause, LinkEnded, PeerLink
from models.formats import join_parts

log = logging.getLogger("creditlab.jobs")
FIRST_PHASE = "psi"
# who leaves here is not used any more, but the federated model was fitted with its row; a zone's is fitted again
JUDGED = frozenset(("predict", "evaluate"))
MEETINGS = 3  # attempts of two engines to get past their first phase
MEETING_SECONDS = 20.0  # silence of both engines in the first phase after which they are started afresh
MEETING_CODES = frozenset(("meeting_stalled", "peer_silent", "peer_absent"))
TALK_SECONDS = 30.0  # how long a node that is alive may take to answer a question of its peer


class Outbox(Protocol):
    """Where a finished job's candidate and report go (the lab's airlock)."""

    async def publish(self, job: Finished) -> str:
        """Checks, registers and reports a finished job; returns the candidate's content address."""
        ...


@dataclass(frozen=True)
class Finished:
    """Everything that the lab's side knows when the computing is over."""

    ticket: dict
    evaluation: dict
    model: dict
    native_model: bytes | None
    phases: list[dict]
    cohort: dict
    egress: dict
    summary: dict
    exclusions: list[dict]


@dataclass
class Job:
    """One running job. `connect` gives the link to the peer; `report` takes progress events for the control plane."""

    ticket: dict
    party: str
    side: Side
    consents: Consents
    journal: Journal
    use_log: UseLog
    limits: sandbox.Limits
    connect: Callable[[str], Awaitable[PeerLink]]
    report: Callable[[dict], None]
    outbox: Outbox | None = None
    zone_key: X25519PrivateKey | None = None
    _tasks: list[Supervisor] = field(default_factory=list)
    _cancelled: Cause | None = None

    def __post_init__(self) -> None:
        self.digest = ticket_digest(self.ticket)
        self.deadlines: dict[str, float] = self.ticket["deadlines"]
        self.gate = JobGate(self.consents, self.ticket, frozenset(self.side.ids))
        self.exclusions: list[dict] = []
        self._main: asyncio.Task | None = None
        self._talk: Conversation | None = None

    # -- life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs the job to its end. Returns when it succeeded; otherwise raises what `endings.cause_of` explains."""
        self._main = asyncio.current_task()
        unwatch = self.consents.watch(self._on_news)
        link: PeerLink | None = None
        try:
            async with asyncio.timeout(self.deadlines["job"]):
                link = await self.connect(self.digest)
                self._talk = Conversation(link, self._cpu_seconds)
                await self._flow()
        except asyncio.CancelledError:
            if self._cancelled is None:
                raise
            raise await self._tell(link, JobEnded(self._cancelled)) from None
        except TimeoutError as error:
            late = TimeoutError(str(error) or f"the job took longer than its {self.deadlines['job']:.0f} s")
            raise await self._tell(link, late) from error
        except Exception as error:
            raise await self._tell(link, error) from error
        finally:
            unwatch()
            if self._talk is not None:
                await self._talk.close()
            if link is not None:
                link.finish(Cause("done", "the job is over", "作业结束"))

    async def _tell(self, link: PeerLink | None, error: Exception) -> Exception:
        if link is not None and not isinstance(error, LinkEnded):
            await link.end(cause_of(error))
        return error

    def _on_news(self, news: News) -> None:
        """A consent in use has ended, or a party was sanctioned: whoever computes asks the gate at its next round."""
        if self.gate.heard(news, now()):
            for task in self._tasks:
                task.consents_changed()

    def cancel(self, cause: Cause = CANCELLED) -> None:
        """Ends the job at once, wherever it is; the peer is told why."""
        self._cancelled = cause
        if self._main is not None:
            self._main.cancel()

    def _cpu_seconds(self) -> float:
        return sum(task.cpu_seconds for task in self._tasks)

    @property
    def talk(self) -> Conversation:
        assert self._talk is not None
        return self._talk

    # -- the common beginning ----------------------------------------------------------------------------------

    async def _flow(self) -> None:
        moment = await self._agree("start")
        admitted = self.gate.admit(moment)
        own = {"rows": self.side.rows, "consented": len(admitted)}
        peer = await self.talk.exchange("cohort", own, TALK_SECONDS)
        self.cohort = {f"{self.party}_rows": own["rows"], f"{self.party}_consented": own["consented"]}
        other = "lab" if self.party == "bank" else "bank"
        self.cohort |= {f"{other}_rows": int(peer["rows"]), f"{other}_consented": int(peer["consented"])}
        # R46: the use is on record before any row is read out of the table, or there is no use
        content = ", ".join(column["name"] for column in self._columns())
        await self.use_log.use(self.ticket, self.gate.uses(), at=moment.at, content=content)
        self.report({"kind": "state", "state": "running"})
        flow = {
            ("federated", "bank"): self._federated_bank,
            ("federated", "lab"): self._federated_lab,
            ("zone", "bank"): self._zone_bank,
            ("zone", "lab"): self._zone_lab,
        }[(self.ticket["mode"], self.party)]
        await flow()

    async def _moment(self) -> Moment:
        return Moment(await self.consents.sync(), now())

    def _said(self, own: Moment) -> dict:
        return {"seq": own.seq, "at": own.at, "chain": self.consents.chain(own.seq)}

    async def _agree(self, topic: str) -> Moment:
        own = await self._moment()
        told = await self.talk.exchange(f"gate:{topic}", self._said(own), TALK_SECONDS)
        return await self._settle(own, told)

    async def _settle(self, own: Moment, told: dict) -> Moment:
        moment = agree(own, Moment(int(told["seq"]), str(told["at"])))
        if moment.seq > self.consents.book.head:
            await self.consents.sync(moment.seq)
        if self.consents.chain(int(told["seq"])) != told["chain"]:
            raise JobEnded(
                Cause(
                    "feed_forked",
                    f"the two nodes were given different consent events up to {told['seq']}: keep both journals as "
                    "evidence and tell the operator",
                    f"双方节点截至第 {told['seq']} 条的授权事件不一致：请保留双方日志库作为证据并通知运营方",
                )
            )
        return moment

    def _columns(self) -> list[dict]:
        return self.ticket["parties"][self.party]["columns"]

    def _table(self) -> bytes:
        """The admitted rows and the ticket's columns as Parquet, with the as-of date; at the bank label and split."""
        columns = [column["name"] for column in self._columns()]
        dataset = self.ticket["dataset"]
        if dataset["as_of"]:
            columns.append(dataset["as_of"])
        if self.party == "bank":
            columns.append(dataset["label"])
            if "column" in dataset["split"]:
                columns.append(dataset["split"]["column"])
        return select(self.side, self.gate.admitted - self.gate.gone, columns)

    async def _ask_gate(self, phase: str) -> list[str]:
        """Both nodes' answer to "may this phase run": whoever is no longer covered is named, or it raises."""
        moment = await self._agree(phase)
        return self._exclude(phase, moment)

    def _exclude(self, phase: str, moment: Moment) -> list[str]:
        excluded = self.gate.exclude(moment)
        self._left(phase, moment, excluded)
        return excluded

    def _left(self, phase: str, moment: Moment, excluded: Collection[str]) -> None:
        if excluded:
            self.exclusions.append({"phase": phase, "enterprises": len(excluded), "seq": moment.seq})
            self.report({"kind": "log", "phase": phase, "excluded": len(excluded)})
            if self.ticket["mode"] == "zone" or phase not in JUDGED:
                self.journal.drop(self.ticket["job_id"], excluded)

    async def _own_gate(self, phase: str) -> list[str]:
        """The gate of a phase that only this party runs: its own copy of the feed decides."""
        return self._exclude(phase, await self._moment())

    async def _sandboxed(
        self,
        runtime: sandbox.Runtime,
        module: str,
        task: dict,
        inputs: dict[str, bytes],
        declared: set[str],
        gate: Callable[[str], Awaitable[list[str]]],
        carries_frames: bool = False,
    ) -> Result:
        supervisor = Supervisor(
            runtime=runtime,
            module=module,
            inputs=inputs,
            task={
                "type": "task",
                "party": self.party,
                "ticket": self.ticket,
                "ticket_digest": self.digest,
                **task,
            },
            declared=frozenset(declared),
            gate=gate,
            report=self.report,
            limits=self.limits,
            stall_seconds=self.deadlines["stall"],
            phase_seconds=self.deadlines["phase"],
            behind=lambda: self.gate.behind,
            conversation=self.talk,
            carries_frames=carries_frames,
            first_phase=FIRST_PHASE if carries_frames else None,
            first_seconds=MEETING_SECONDS,
        )
        self._tasks.append(supervisor)
        return await supervisor.run()

    async def _worker(
        self,
        task: dict,
        inputs: dict[str, bytes],
        declared: set[str],
        gate: Callable[[str], Awaitable[list[str]]],
    ) -> Result:
        return await self._sandboxed(sandbox.worker_runtime(), "models.worker", task, inputs, declared, gate)

    async def _engine(self, exclude_columns: list[str], declared: set[str]) -> Result:
        """Runs the engine beside the peer's. Two engines that met and fell silent are both started afresh.

        SecretFlow's links lose their first words now and then on a busy machine; nothing has been computed by then.
        """
        for attempt in range(1, MEETINGS + 1):
            await self.talk.exchange(FRESH_ENGINE, {"attempt": attempt}, self.deadlines["phase"])
            try:
                return await self._run_engine(exclude_columns, declared)
            except JobEnded as error:
                phases = self._tasks[-1].phases_done
                if attempt == MEETINGS or phases or error.cause.code not in MEETING_CODES:
                    raise
                log.warning("%s: %s; starting the engine again", self.ticket["job_id"], error.cause.message)
                self.report({"kind": "log", "phase": FIRST_PHASE, "message": error.cause.message})
        raise AssertionError("the last attempt returns or raises")

    async def _run_engine(self, exclude_columns: list[str], declared: set[str]) -> Result:
        columns = {"bank": [], "lab": [], self.party: exclude_columns}
        return await self._sandboxed(
            sandbox.engine_runtime(),
            "creditlab_engine",
            {"task": "federated", "exclude_columns": columns},
            {"table.parquet": self._table()},
            declared,
            self._ask_gate,
            carries_frames=True,
        )

    # -- federated mode ----------------------------------------------------------------------------------------

    async def _federated_bank(self) -> None:
        scan = await self._worker(
            {"task": "leak_scan"}, {"table.parquet": self._table()}, {"leaks.json"}, self._own_gate
        )
        leaks = json.loads(scan.outputs["leaks.json"])
        drop = [leak["column"] for leak in leaks if leak["severity"] == "exclude"]
        engine = await self._engine(
            drop if self.ticket["leaks"] == "exclude" else [],
            {"scores.parquet", "model_part.json", "screen.json"},
        )
        inputs = {
            "table.parquet": self._table(),
            "scores.parquet": engine.outputs["scores.parquet"],
            "model_part.json": engine.outputs["model_part.json"],
        }
        task = {"task": "bank_evaluate", "leaks": leaks, "screen": json.loads(engine.outputs["screen.json"])}
        judged = await self._worker(task, inputs, {"evaluation.json"}, self._own_gate)
        result = {
            "evaluation": json.loads(judged.outputs["evaluation.json"]),
            "model_part": json.loads(engine.outputs["model_part.json"]),
            "phases": [*scan.phases, *engine.phases, *judged.phases],
            "summary": engine.summary,
            "exclusions": self.exclusions,
        }
        await self.talk.link.send_blob("result", json.dumps(result, ensure_ascii=False).encode())
        await self.talk.hear("finished", self.deadlines["phase"])

    async def _federated_lab(self) -> None:
        engine = await self._engine([], {"model_part.json"})
        raw = await self.talk.link.blob("result", self.deadlines["phase"])
        result = json.loads(raw)
        model = join_parts(
            result["model_part"], json.loads(engine.outputs["model_part.json"]), result["evaluation"]["calibration"]
        )
        await self._publish(
            result["evaluation"],
            model,
            None,
            _by_party(bank=result["phases"], lab=engine.phases),
            {**result["summary"], "lab": engine.summary},
            result["exclusions"],
        )

    # -- zone mode ---------------------------------------------------------------------------------------------

    async def _zone_bank(self) -> None:
        zone_key = self.ticket["parties"]["lab"]["zone_key"]
        wrapped, sealed = vault.seal(self._table(), zone_key, self.digest)

        async def answer(message: dict) -> dict:
            own = await self._moment()
            moment = await self._settle(own, message)
            # the lab's gate decides here; this side only remembers on whom the model does not rest
            self._left(str(message["type"]).removeprefix("gate:"), moment, self.gate.leaving(moment))
            return self._said(own)

        self.talk.respond("gate:", answer)
        await self.talk.link.send_blob("sample.key", wrapped)
        await self.talk.link.send_blob("sample.sealed", sealed)
        del sealed
        await self.talk.hear("finished", self.deadlines["job"])

    async def _zone_lab(self) -> None:
        assert self.zone_key is not None
        wrapped = await self.talk.link.blob("sample.key", self.deadlines["phase"])
        sealed = await self.talk.link.blob("sample.sealed", self.deadlines["phase"])
        try:
            data_key = vault.unwrap(wrapped, self.zone_key, self.digest)
        except vault.CannotOpen as error:
            zh = "密封样本与本作业或本专区密钥不符"
            raise JobEnded(Cause("sealed_for_another_job", str(error), zh)) from error
        declared = {"evaluation.json", "model.json"}
        if self.ticket["recipe"]["name"] == "boosting":
            declared.add("model.lgb.txt")
        trained = await self._worker(
            {"task": "zone_train", "data_key": vault.b64(data_key)},
            {"lab.parquet": self._table(), "bank.sealed": sealed},
            declared,
            self._ask_gate,
        )
        del sealed, data_key
        await self._publish(
            json.loads(trained.outputs["evaluation.json"]),
            json.loads(trained.outputs["model.json"]),
            trained.outputs.get("model.lgb.txt"),
            _by_party(bank=[], lab=trained.phases),
            trained.summary,
            self.exclusions,
        )

    async def _publish(
        self,
        evaluation: dict,
        model: dict,
        native_model: bytes | None,
        phases: list[dict],
        summary: dict,
        exclusions: list[dict],
    ) -> None:
        assert self.outbox is not None
        link = self.talk.link
        egress = {"bank_to_lab_bytes": link.received_bytes, "lab_to_bank_bytes": link.sent_bytes}
        finished = Finished(
            self.ticket, evaluation, model, native_model, phases, self.cohort, egress, summary, exclusions
        )
        sha256 = await self.outbox.publish(finished)
        await self.talk.say("finished", {"sha256": sha256})


def _by_party(bank: list[dict], lab: list[dict]) -> list[dict]:
    return [{"party": "bank", **phase} for phase in bank] + [{"party": "lab", **phase} for phase in lab]
