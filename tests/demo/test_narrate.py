"""What the demo says of a job's events."""

from __future__ import annotations

import pytest

from api.demo.narrate import Narrator, describe


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"kind": "phase", "party": "bank", "phase": "psi", "state": "started"}, "bank 银行  psi 隐私求交 …"),
        (
            {"kind": "phase", "party": "lab", "phase": "fit_joint", "state": "done", "seconds": 12.34, "cpu_seconds": 9,
             "peak_rss_mb": 512.4},
            "lab  公信  fit_joint 联合训练 ✓ 12.3 s, CPU 9.0 s, 512 MB",
        ),
        (
            {"kind": "progress", "party": "lab", "phase": "fit_lab", "done": 15, "total": 30},
            "lab  公信  fit_lab 训练公信评分 50 %",
        ),
        ({"kind": "progress", "party": "lab", "phase": "fit_lab", "done": 15}, None),
        (
            {"kind": "state", "party": "bank", "state": "failed", "message": "port taken", "message_zh": "端口被占用"},
            "bank 银行  失败 failed: 端口被占用 · port taken",
        ),
        ({"kind": "state", "party": None, "state": "succeeded"}, "job  作业  成功 succeeded"),
        ({"kind": "log", "party": "bank"}, None),
        ({"kind": "unheard_of", "party": "bank"}, None),
    ],
)  # fmt: skip
def test_an_event_is_one_line_or_none(event: dict, line: str | None) -> None:
    assert describe(event) == line


def test_withdrawals_are_told_once_per_count_and_party(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator()
    with narrator.step("作业", "job"):
        for phase in ("fit", "evaluate"):
            for party in ("bank", "lab"):
                narrator.event({"kind": "log", "party": party, "phase": phase, "excluded": 20})
        narrator.event({"kind": "log", "party": "lab", "phase": "evaluate", "excluded": 25})
    assert capsys.readouterr().out.count("consent ended") == 3
    with narrator.step("作业", "the next job"):
        narrator.event({"kind": "log", "party": "lab", "phase": "fit", "excluded": 25})
    assert "25" in capsys.readouterr().out


def test_progress_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator()
    for done in range(1, 200):
        narrator.event({"kind": "progress", "party": "lab", "phase": "fit", "done": done, "total": 200})
    assert len(capsys.readouterr().out.splitlines()) <= 2
