"""One job after the other: proposed, approved, followed, reported, reviewed, released, used for scores.

Owns the order of events of the demo's jobs and the files they leave in the user's folder. Decides nothing itself:
every act is an API call of the account whose act it is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from api.client import JOB_ENDS, LabError
from api.demo.enterprises import chance
from api.demo.narrate import DemoFailed
from api.demo.world import Bank, World
from consent.purposes import Purpose

_JOB_SECONDS = 1900.0  # a ticket's own deadline of 1800 s and what nodes need to tell of it
_RELEASE_SECONDS = 120.0
_COMMAND_SECONDS = 120.0
_EVENT_WAIT = 2.0
#: Withdrawals are sent when one of these phases begins: at least one more phase follows.
_WITHDRAW_AT = frozenset({"screen", "fit_lab", "open", "fit"})
_SCORED = 3


@dataclass(frozen=True)
class Outcome:
    """What one job left behind."""

    bank: Bank
    mode: str
    recipe: str
    report: dict[str, Any]
    folder: Path
    scores: list[dict[str, Any]]


class Story:
    """The jobs of one bank."""

    def __init__(self, world: World, bank: Bank) -> None:
        self._world = world
        self._bank = bank
        self._narrator = world.narrator

    def run(self, mode: str, recipe: str) -> Outcome:
        name = f"{mode}-{recipe}"
        whose = f" ({self._bank.institution})" if self._bank.party else ""
        folder = self._world.folders.result(self._bank.party and self._bank.institution, mode, recipe)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with self._narrator.step(f"作业 {name}{whose}", "a job: proposed, approved, run"):
            job_id = self._agree(mode, recipe)
            self._follow(job_id)
        with self._narrator.step(f"评审与放行 {name}{whose}", "review and release"):
            sha256 = self._release(job_id)
            report = self._write_report(job_id, folder)
        with self._narrator.step(f"评分 {name}{whose}", "scores for five enterprises"):
            scores = self._score(sha256)
            (folder / "scores.json").write_text(json.dumps(scores, ensure_ascii=False, indent=1), encoding="utf-8")
        return Outcome(self._bank, mode, recipe, report, folder, scores)

    # ---- the job

    def _project(self) -> str:
        """The project of this bank and the lab, made and agreed to on the first job."""
        client, name = self._world.client, f"demo-{self._bank.institution}"
        risk = client(self._bank.risk)
        if not any(known["id"] == name for known in risk.projects("active")):
            risk.propose_project(
                {
                    "id": name,
                    "title": f"演示 · demo {self._world.dataset}"[:128],
                    "lab": "lab",
                    "label": "银行表中声明的标签列 · the label column that the bank's table declares",
                    "agreement": {
                        "title": "联合建模协议（演示）· joint modelling agreement (demo)",
                        "sha256": hashlib.sha256(name.encode()).hexdigest(),
                        "signed_on": datetime.now(UTC).date().isoformat(),
                    },
                    "valid_until": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
                }
            )
            client("lab-owner").decide_project(name, "用途与数据符合约定 · purpose and data are as agreed")
            client("operator").decide_project(name, "协议齐全 · the agreement is complete")
        return name

    def _agree(self, mode: str, recipe: str) -> str:
        client = self._world.client
        job = client(self._bank.risk).propose_job(
            {
                "project": self._project(),
                "dataset": self._world.dataset,
                "bank": self._bank.institution,
                "lab": "lab",
                "mode": mode,
                "recipe": {"name": recipe},
                "columns": self._world.columns,
                "reason": "演示 · demo",
            }
        )
        job_id = str(job["id"])
        client("lab-owner").approve_job(job_id, "列与用途符合约定 · columns and purpose are as agreed")
        client("operator").approve_job(job_id, "材料齐全 · complete")
        self._narrator.say(
            f"{job_id}：{self._bank.risk} 提出，lab-owner 与 operator 批准",
            f"proposed by {self._bank.risk}, approved by lab-owner and operator",
        )
        return job_id

    def _follow(self, job_id: str) -> None:
        """Tell every phase until the job ends; some enterprises withdraw meanwhile."""
        risk, after = self._world.client(self._bank.risk), 0
        to_withdraw = self._world.options.withdraw
        deadline = time.monotonic() + _JOB_SECONDS
        while True:
            self._world.processes.check()
            page = risk.job_events(job_id, after, wait=_EVENT_WAIT)
            after = page["last_seq"]
            for event in page["events"]:
                self._narrator.event(event)
                if to_withdraw and event["kind"] == "phase" and event.get("phase") in _WITHDRAW_AT:
                    self._withdraw(to_withdraw)
                    to_withdraw = 0
            if page["state"] in JOB_ENDS and not page["events"]:
                break
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"job {job_id} did not end within {_JOB_SECONDS:.0f} s",
                    f"作业 {job_id} 在 {_JOB_SECONDS:.0f} 秒内未结束",
                )
        job = risk.job(job_id)
        if job["state"] != "succeeded":
            cause = job.get("cause") or {}
            raise DemoFailed(
                f"job {job_id} {job['state']}: {cause.get('message', '')} ({cause.get('code', '')})",
                f"作业 {job_id} {job['state']}：{cause.get('message_zh', '')}",
            )

    def _withdraw(self, count: int) -> None:
        """`count` enterprises that are in the job end their consent to training, now."""
        live = self._world.register.live(self._bank.institution, Purpose.JOINT_TRAINING)
        inside = [one for one in self._world.enterprises if one.in_bank and one.in_lab and one.id in live]
        chosen = sorted(inside, key=lambda one: (one.split == "test", chance(one.id, "withdraw")))[:count]
        documents = [
            self._world.register.withdraw(one.id, self._bank.institution, Purpose.JOINT_TRAINING) for one in chosen
        ]
        done = self._world.import_documents(documents)
        self._narrator.say(
            f"→ {done['withdrawn']} 家企业此刻撤回建模授权", f"{done['withdrawn']} enterprises withdraw consent now"
        )

    # ---- report and release

    def _release(self, job_id: str) -> str:
        """Request, two reviews, approval; the released file is fetched from the bank's node and checked."""
        client, bank = self._world.client, self._bank
        release = client(bank.risk).request_release(job_id, "用于授信评分 · for underwriting scores")
        release_id, sha256 = str(release["id"]), str(release["sha256"])
        for reviewer in ("reviewer-platform", "reviewer-lab"):
            client(reviewer).review_release(release_id, "approve", "报告已核对 · the report was checked")
            self._narrator.say(f"{reviewer}: approve")
        client("operator").approve_release(release_id, "两份评审均同意 · both reviews agree")

        def done() -> dict[str, Any] | None:
            now = client(bank.risk).release(release_id)
            if now.get("cause"):
                cause = now["cause"]
                raise DemoFailed(
                    f"release {release_id} failed: {cause.get('message')}",
                    f"放行 {release_id} 失败：{cause.get('message_zh') or cause.get('message')}",
                )
            return now if now["state"] == "released" else None

        self._world.processes.until(f"release {release_id}", f"放行 {release_id}", _RELEASE_SECONDS, done, every=0.3)
        source = self._world.released_file(bank, sha256)
        target = self._world.folders.releases / f"{sha256}.json"
        shutil.copyfile(source, target)
        found = hashlib.sha256(target.read_bytes()).hexdigest()
        if found != sha256:
            raise DemoFailed(f"{target}: its SHA-256 is {found}", f"{target}：其 SHA-256 为 {found}")
        self._narrator.say(f"releases/{sha256}.json ({target.stat().st_size:,} bytes)")
        return sha256

    def _write_report(self, job_id: str, folder: Path) -> dict[str, Any]:
        report: dict[str, Any] = self._world.client(self._bank.risk).report(job_id)
        path = folder / "report.json"
        path.write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
        self._world.processes.run(
            "report render", "report", "render", str(path), str(folder / "report.html"),
            seconds=_COMMAND_SECONDS,
        )  # fmt: skip
        return report

    # ---- scores

    def _score(self, sha256: str) -> list[dict[str, Any]]:
        """Three that consented, one that has just withdrawn, one that was never asked: the last two are refused."""
        bank, register = self._bank.institution, self._world.register
        live = sorted(register.live(bank, Purpose.UNDERWRITING_SCORE), key=lambda one: chance(one, f"score {sha256}"))
        training = register.live(bank, Purpose.JOINT_TRAINING)
        if len(live) <= _SCORED:
            raise DemoFailed("too few enterprises consented to a score", "同意评分的企业过少")
        never = next(
            one.id for one in self._world.enterprises
            if one.in_bank and one.in_lab and one.id in training and one.id not in live
        )  # fmt: skip
        withdrawn = live[_SCORED]
        self._world.import_documents([register.withdraw(withdrawn, bank, Purpose.UNDERWRITING_SCORE)])
        results = [self._ask(one, sha256, refused=False) for one in live[:_SCORED]]
        results.append(self._ask(withdrawn, sha256, refused=True))
        results.append(self._ask(never, sha256, refused=True))
        return results

    def _ask(self, enterprise: str, sha256: str, *, refused: bool) -> dict[str, Any]:
        try:
            answer = self._world.client(self._bank.risk).score(
                enterprise, "授信审批 · underwriting", release_sha256=sha256
            )
        except LabError as error:
            if not refused or error.status != 403:
                raise DemoFailed(
                    f"no score for {enterprise}: {error.message} ({error.code})",
                    f"{enterprise} 未能评分：{error.message_zh}",
                ) from error
            self._narrator.say(f"{enterprise}  拒绝 {error.status}：{error.message_zh}", error.message)
            return {
                "enterprise": enterprise, "refused": error.code,
                "message": error.message, "message_zh": error.message_zh,
            }  # fmt: skip
        if refused:
            raise DemoFailed(
                f"{enterprise} was scored without a live consent", f"{enterprise} 在没有有效授权的情况下被评分"
            )
        self._narrator.say(f"{enterprise}  {answer['score']:.0f} 分，PD {answer['pd']:.1%}")
        for reason in answer["reasons"][:2]:
            self._narrator.say(f"    – {reason['text_zh']}", reason["text"])
        return {"enterprise": enterprise, **answer}
