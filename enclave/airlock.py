"""The airlock: what may leave the zone, in which form, and on whose word.

Candidates are content-addressed and registered in the zone's registry; a candidate becomes a released file only by a
release order that the platform signed and that names two reviewers who are not the author. Machine checks come first.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from datetime import UTC, datetime

from consent.artefact import MalformedDocument
from consent.canonical import canonical
from consent.errors import Refused as NotBelieved
from consent.keys import BadSignature
from consent.policy import EXPORT, RELEASE, Denied, Facts, check
from consent.ticket import check_release_order, ticket_digest
from consent.times import stamp
from enclave.config import NodeConfig
from enclave.control import Control
from enclave.endings import JobEnded, cause_of
from enclave.gate import Consents
from enclave.jobs import Finished
from enclave.journal import Journal
from enclave.pki import write_private
from enclave.platform_keys import PlatformKeys
from enclave.recalls import Recalls
from enclave.sandbox import PROJECT
from federated.relay.client import RelayClient
from federated.relay.link import Cause, LinkEnded
from federated.relay.server import Refused
from models.formats import InvalidModel, content_sha256, validate
from models.recipes import RECIPES
from models.report.assemble import assemble

log = logging.getLogger("creditlab.airlock")
# A leaf of fewer rows would describe them: the least that any recipe may ask for.
MIN_LEAF_ROWS = int(RECIPES["boosting"]["min_leaf"].low)
REGISTRY_SECONDS = 120.0
FETCH_SECONDS = 60.0


def machine_checks(model: dict) -> None:
    """What a person would overlook. Raises JobEnded: the candidate never reaches a reviewer."""
    try:
        validate(model)
    except InvalidModel as error:
        raise JobEnded(Cause("model_invalid", error.message, error.message_zh)) from error
    for number, tree in enumerate(model.get("trees", [])):
        for node in tree["nodes"]:
            if "leaf" in node and node.get("cover", 0) < MIN_LEAF_ROWS:
                raise JobEnded(
                    Cause(
                        "leaf_too_small",
                        f"trees[{number}] has a leaf of {node.get('cover', 0)} rows,"
                        f" at least {MIN_LEAF_ROWS} are needed: raise min_leaf",
                        f"第 {number} 棵树的叶节点仅含 {node.get('cover', 0)} 行，至少需要 {MIN_LEAF_ROWS} 行",
                    )
                )


class Airlock:
    """The lab publishes candidates and releases them; a bank fetches what was released to it."""

    def __init__(
        self,
        config: NodeConfig,
        platform: PlatformKeys,
        journal: Journal,
        control: Control,
        consents: Consents,
        recalls: Recalls,
    ) -> None:
        self._config = config
        self._platform = platform
        self._consents = consents
        self._journal = journal
        self._control = control
        self._recalls = recalls
        self._folder = config.state_dir / "airlock"
        self._releases = config.state_dir / "releases"
        for folder in (self._folder / "candidates", self._releases):
            folder.mkdir(parents=True, exist_ok=True)

    # -- candidates (lab) --------------------------------------------------------------------------------------

    async def publish(self, job: Finished) -> str:
        """Checks, stores, registers and reports a finished job's candidate; returns its content address."""
        model, ticket = job.model, job.ticket
        machine_checks(model)
        if (model["job_id"], model["ticket_sha256"]) != (ticket["job_id"], ticket_digest(ticket)):
            raise JobEnded(Cause("model_of_another_job", "the model names another job", "模型文件属于另一作业"))
        sha256 = content_sha256(model)
        cohort = {
            "bank_rows": job.cohort["bank_rows"],
            "lab_rows": job.cohort["lab_rows"],
            "consented": job.cohort["bank_consented"],
            "lab_consented": job.cohort["lab_consented"],
        }
        if "intersection" in job.summary:
            cohort["intersection"] = int(job.summary["intersection"])
        report = assemble(
            ticket=ticket,
            evaluation=job.evaluation,
            cohort=cohort,
            phases=job.phases,
            egress=job.egress,
            model_sha256=sha256,
            withdrawals={"during_job": max((one["enterprises"] for one in job.exclusions), default=0)},
            engine_protocol=job.summary.get("protocol"),
            versions=job.summary.get("versions"),
        )
        folder = self._folder / "candidates" / sha256
        folder.mkdir(parents=True, exist_ok=True)
        write_private(folder / "model.json", canonical(model))
        write_private(folder / "report.json", json.dumps(report, ensure_ascii=False).encode())
        if job.native_model is not None:
            write_private(folder / "model.lgb.txt", job.native_model)
        registered = await self._registry("register", "--folder", str(folder))
        self._journal.add_candidate(sha256, job.ticket["job_id"], str(registered["version"]))
        await self._control.report(job.ticket["job_id"], report, sha256)
        return sha256

    async def _registry(self, *arguments: str) -> dict:
        """One command of the zone's model registry, in a process of its own: MLflow is heavy and stays out of here."""
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self._folder),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "models.registry", "--store", str(self._config.state_dir / "registry"), *arguments,
            env=environment, cwd=PROJECT,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), REGISTRY_SECONDS)
        except (TimeoutError, asyncio.CancelledError):
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            log.error("registry: %s", (out + err).decode(errors="replace")[-4000:])  # a refusal is said on the former
            raise JobEnded(
                Cause(
                    "registry_failed",
                    "the model registry did not take the candidate",
                    "模型登记失败，详情见节点日志",
                )
            )
        return json.loads(out.splitlines()[-1])

    # -- releases ----------------------------------------------------------------------------------------------

    async def obey(self, document: dict) -> tuple[str, dict]:
        """Carries out a release order; returns (release id, what to tell the control plane)."""
        release_id = str(document["body"].get("release_id", ""))
        try:
            await self._consents.sync()
            if self._config.role == "lab":
                size = await self._release(await self._checked(document, RELEASE))
            else:
                size = await self._fetch(await self._checked(document, EXPORT), document)
        except Exception as error:
            cause = cause_of(error)
            if cause.code == "internal_error":
                log.exception("release %s", release_id)
            told = {"code": cause.code, "message": cause.message, "message_zh": cause.message_zh}
            return release_id, {"state": "failed", **told}
        return release_id, {"state": "released", "bytes": size}

    async def _checked(self, document: dict, scope: str) -> dict:
        """The order's body, once the platform signed it and `scope` allows it by what this node knows itself.

        Raises JobEnded or Denied.
        """
        at = stamp(datetime.now(UTC))
        try:
            await self._platform.learn([document])
            order = check_release_order(document, self._platform.current(document), at)
        except (BadSignature, MalformedDocument) as error:
            raise JobEnded(Cause("order_refused", f"the release order was refused: {error}", "放行指令无效")) from error
        bank = order["parties"].get("bank", {}).get("institution", "")
        facts = Facts(
            at=at,
            institution=self._consents.book.institution_state(bank),
            author=order["author"],
            approvals=tuple(order["reviewers"]),
            withdrawn_share=self._recalls.known_share(order["job_id"]),
            recall_share=self._config.recall_share,
        )
        check(scope, facts)
        return order

    async def _release(self, order: dict) -> int:
        source = self._folder / "candidates" / order["sha256"] / "model.json"
        if not _is_sha256(order["sha256"]) or not source.exists():
            raise JobEnded(Cause("candidate_unknown", "this zone holds no such candidate", "专区内没有该候选模型"))
        model = json.loads(source.read_bytes())
        if content_sha256(model) != order["sha256"] or model["job_id"] != order["job_id"]:
            raise JobEnded(
                Cause("candidate_changed", "the candidate is not what was reviewed", "候选模型与审核内容不一致")
            )
        machine_checks(model)
        version = self._journal.candidate_version(order["sha256"])
        await self._registry("transition", "--version", str(version), "--to", "validated", "approved", "released")
        return self._keep(order["sha256"], canonical(model))

    async def _fetch(self, order: dict, document: dict) -> int:
        lab = order["parties"]["lab"]
        client = RelayClient(self._config.identity, lab["relay"], lab["node"])
        deadline = asyncio.get_running_loop().time() + FETCH_SECONDS
        while True:
            try:
                data = await client.fetch_release({"order": document}, 30.0)
                break
            except (Refused, LinkEnded) as error:
                waiting = error.cause.code in ("not_released_yet", "peer_unreachable")
                if not waiting or asyncio.get_running_loop().time() > deadline:
                    raise JobEnded(error.cause) from error
                await asyncio.sleep(0.5)
        model = json.loads(data)
        machine_checks(model)
        if content_sha256(model) != order["sha256"]:
            raise JobEnded(Cause("release_changed", "the file is not what the order names", "文件与放行指令不一致"))
        return self._keep(order["sha256"], data)

    def _keep(self, sha256: str, data: bytes) -> int:
        write_private(self._releases / f"{sha256}.json", data)
        return len(data)

    async def answer_fetch(self, caller: str, request: dict) -> bytes:
        """The released file, for the bank node that the order names. Raises Refused.

        The hand-over is a decision of its own: somebody may have withdrawn since the release.
        """
        try:
            await self._consents.sync()
            order = await self._checked(request["order"], EXPORT)
            if order["parties"].get("bank", {}).get("node") != caller:
                raise JobEnded(
                    Cause("order_refused", "the order names another bank node", "放行指令指定了另一银行节点")
                )
        except (JobEnded, Denied, NotBelieved) as error:
            raise Refused(cause_of(error)) from error
        except (KeyError, TypeError) as error:
            raise Refused(Cause("order_refused", "not a release request", "放行请求格式错误")) from error
        path = self._releases / f"{order['sha256']}.json"
        if not _is_sha256(order["sha256"]) or not path.exists():
            raise Refused(Cause("not_released_yet", "the zone has not released it yet", "专区尚未放行"))
        return path.read_bytes()

    def released(self, sha256: str) -> dict:
        """A released model held by this node. Raises JobEnded."""
        path = self._releases / f"{sha256}.json"
        if self._journal.is_recalled(sha256):
            raise JobEnded(Cause("release_recalled", "this model was recalled", "该模型已被召回"))
        if not _is_sha256(sha256) or not path.exists():
            raise JobEnded(
                Cause("model_not_released", "this node holds no such released model", "本节点没有该已放行模型")
            )
        model = json.loads(path.read_bytes())
        if content_sha256(model) != sha256:
            raise JobEnded(Cause("release_changed", "the released file was changed on disk", "已放行文件被篡改"))
        return model


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)
