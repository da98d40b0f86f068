"""What the demo says while it works: numbered steps, phases of a job, figures, and why it failed, in zh and en.

Owns the layout of the demo's output. Prints lines only, so that it reads the same in a terminal and in a log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

#: A long phase says how far it is at most this often.
_PROGRESS_SECONDS = 10.0


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and what to do, in both languages."""

    def __init__(self, message: str, message_zh: str = "") -> None:
        super().__init__(message)
        self.message, self.message_zh = message, message_zh or message


class Narrator:
    """Numbered steps and what happens within them."""

    def __init__(self) -> None:
        self._number = 0
        self._begin = time.monotonic()
        self._told = 0.0
        self._left: dict[str, int] = {}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin

    @contextmanager
    def step(self, zh: str, en: str) -> Iterator[None]:
        """One step; says how long it took when it is over."""
        self._number += 1
        self._left.clear()
        begin = time.monotonic()
        typer.echo(f"\n[{self._number:>2}] {zh} · {en}")
        yield
        typer.echo(f"     ✓ {time.monotonic() - begin:.1f} s")

    def say(self, zh: str, en: str = "") -> None:
        typer.echo(f"     {zh}" + (f" · {en}" if en else ""))

    def block(self, text: str) -> None:
        """Text of another command, indented."""
        for line in text.rstrip().splitlines():
            typer.echo(f"     {line}".rstrip())

    def event(self, event: dict[str, Any]) -> None:
        """One event of a job, as a line or not at all."""
        line = describe(event)
        if line is None or self._heard(event):
            return
        now = time.monotonic()
        if event.get("kind") == "progress" and now - self._told < _PROGRESS_SECONDS:
            return
        self._told = now
        typer.echo(f"     {line}")

    def _heard(self, event: dict[str, Any]) -> bool:
        """Whether a log of withdrawals repeats the count that this party gave for an earlier phase."""
        if event.get("kind") != "log":
            return False
        key, count = str(event.get("party")), int(event["excluded"])
        known, self._left[key] = self._left.get(key), count
        return known == count

    def failed(self, failure: DemoFailed) -> None:
        typer.echo(f"\n失败 · failed\n{failure.message_zh}", err=True)
        if failure.message != failure.message_zh:
            typer.echo(failure.message, err=True)


_PARTIES = {"bank": "bank 银行", "lab": "lab  公信", "None": "job  作业"}
_PHASES = {
    "psi": "隐私求交",
    "screen": "筛查特征",
    "screen_bank": "筛查特征",
    "fit_lab": "训练公信评分",
    "fit_joint": "联合训练",
    "fit": "训练",
    "predict": "预测",
    "evaluate": "评估",
    "open": "开封样本",
}
_STATES = {
    "running": "运行",
    "succeeded": "成功",
    "failed": "失败",
    "cancelled": "已取消",
    "stopped_by_consent": "因授权终止",
}


def describe(event: dict[str, Any]) -> str | None:
    """One line about an event of a job; None when it is not worth one."""
    who = _PARTIES.get(str(event.get("party")), str(event.get("party")))
    kind, phase = event.get("kind"), str(event.get("phase") or "")
    name = f"{phase} {_PHASES.get(phase, '')}".strip()
    if kind == "phase":
        if event.get("state") != "done":
            return f"{who}  {name} …"
        figures = [f"{float(event['seconds']):.1f} s"] if event.get("seconds") is not None else []
        if event.get("cpu_seconds") is not None:
            figures.append(f"CPU {float(event['cpu_seconds']):.1f} s")
        if event.get("peak_rss_mb") is not None:
            figures.append(f"{float(event['peak_rss_mb']):.0f} MB")
        return f"{who}  {name} ✓ " + ", ".join(figures)
    if kind == "progress" and event.get("total"):
        share = 100 * float(event.get("done") or 0) / float(event["total"])
        return f"{who}  {name} {share:.0f} % {event.get('note') or ''}".rstrip()
    if kind == "log" and event.get("excluded"):
        return f"{who}  {event['excluded']} 家企业的授权已终止，从本阶段起移出 · consent ended: left before {phase}"
    if kind == "state" and event.get("state") in _STATES:
        why = f": {event['message_zh']} · {event['message']}" if event.get("message") else ""
        return f"{who}  {_STATES[event['state']]} {event['state']}{why}"
    return None
