"""What the command line shows a person: tables and live progress (rich). Formats only, asks nothing."""

from __future__ import annotations

from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

_console = Console()

_STATES = {
    "draft": "草稿",
    "proposed": "待审批",
    "approved": "已批准",
    "running": "运行中",
    "succeeded": "成功",
    "failed": "失败",
    "cancelled": "已取消",
    "stopped_by_consent": "因授权终止",
    "pending": "等待",
}


def _state(name: str) -> str:
    return f"{_STATES[name]} {name}" if name in _STATES else name


def counts(value: dict[str, Any]) -> None:
    table = Table("接收方 recipient", "用途 purpose", "状态 state", "数量 count")
    for row in value["items"]:
        table.add_row(row["recipient"], row["purpose"], row["state"], str(row["count"]))
    _console.print(table)
    total = value["total"]
    _console.print(
        f"有效 active {total['active']} · 拒绝 refused {total['refused']} · 撤回 withdrawn {total['withdrawn']}"
    )


def jobs(rows: list[dict[str, Any]]) -> None:
    table = Table()
    table.add_column("作业 job", no_wrap=True)
    for title in ("数据集 dataset", "银行 bank", "模式 mode", "配方 recipe", "状态 state"):
        table.add_column(title)
    for row in rows:
        table.add_row(row["id"], row["dataset"], row["bank"], row["mode"], row["recipe"]["name"], _state(row["state"]))
    _console.print(table)


def _phase_table(job: dict[str, Any]) -> Table:
    """One row a phase, one column a party: seconds when done, progress while it runs."""
    table = Table(title=f"{job['id']} · {_state(job['state'])}")
    table.add_column("阶段 phase")
    parties = sorted(job["parties"]) or ["bank", "lab"]
    for party in parties:
        node = job["parties"].get(party, {}).get("node", "")
        table.add_column(f"{party} {node}")
    names = list(dict.fromkeys(p["phase"] for party in parties for p in job["phases"].get(party, [])))
    for name in names:
        table.add_row(name, *(_phase_cell(job, party, name) for party in parties))
    table.add_row("", *(_state(job["parties"].get(party, {}).get("state", "")) for party in parties))
    return table


def _phase_cell(job: dict[str, Any], party: str, name: str) -> str:
    phase = next((p for p in job["phases"].get(party, []) if p["phase"] == name), None)
    if phase is None:
        return ""
    if phase["state"] == "done":
        return "✓" if phase["seconds"] is None else f"✓ {phase['seconds']:.1f} s"
    now = job["progress"].get(party)
    if now and now["phase"] == name and now["total"]:
        note = f" {now['note']}" if now["note"] else ""
        return f"… {now['done']:g}/{now['total']:g}{note}"
    return "…"


def job(row: dict[str, Any]) -> None:
    _console.print(f"{row['id']}  {_state(row['state'])}  {row['dataset']}  {row['mode']}  {row['recipe']['name']}")
    for approval in row["approvals"]:
        _console.print(f"  {approval['capacity']}: {approval['decision']} ({approval['account_name']})")
    if row["phases"]:
        _console.print(_phase_table(row))
    ending(row)


def ending(row: dict[str, Any]) -> None:
    """Why a job ended, and what each side said."""
    if row["cause"]:
        _console.print(f"原因 {row['cause']['message_zh']}")
        _console.print(f"cause {row['cause']['message']} ({row['cause']['code']})")
        for party, side in row["parties"].items():
            if side["code"] and side["code"] != row["cause"]["code"]:
                _console.print(f"  {party}: {side['message_zh'] or side['message']} ({side['code']})")
    elif row["state"] == "succeeded":
        _console.print(f"作业成功 · succeeded, model {row['model_sha256']}")


def release(row: dict[str, Any]) -> None:
    _console.print(f"{row['id']}  {row['state']}  {row['job_id']}  sha256 {row['sha256']}")
    for review in row["reviews"]:
        _console.print(f"  {review['account_name']}: {review['decision']} — {review['comment']}")
    for confirmation in row["confirmations"]:
        _console.print(f"  {confirmation['node']}: {confirmation['outcome']}")
    if row["cause"]:
        _console.print(f"  {row['cause']['message_zh']} · {row['cause']['message']}")


def score(enterprise: str, result: dict[str, Any]) -> None:
    _console.print(f"{enterprise}  评分 score {result['score']:.0f}  违约概率 PD {result['pd']:.2%}")
    for reason in result["reasons"]:
        text_zh, text = reason.get("text_zh"), reason.get("text")
        _console.print(f"  {text_zh or ''} · {text or reason}")
    _console.print(
        f"模型 model {result['model']['sha256'][:16]}… · 授权 consent {result['consent_id']} · "
        f"使用记录 usage {result['usage_id']}"
    )


class Watch:
    """Live progress on a terminal; one line an event elsewhere."""

    def __init__(self) -> None:
        self._live = Live(console=_console, auto_refresh=False) if _console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, job: dict[str, Any], events: list[dict[str, Any]]) -> None:
        if self._live is not None:
            self._live.update(_phase_table(job), refresh=True)
            return
        for event in events:
            if event["kind"] == "progress":
                continue
            words = [event["party"] or "", event.get("phase", ""), event.get("state", ""), event.get("message", "")]
            _console.print(" ".join([event["at"][11:19], event["kind"], *(str(w) for w in words if w)]), markup=False)
