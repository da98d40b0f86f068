"""The HTML page of a report: one file, no script, no address of anything outside it.

Owns the template and its helpers. It writes nothing and never trusts text in a report: everything is escaped.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from models.report import charts
from models.report.assemble import validate
from models.report.wording import MODEL_NAMES, PARTY_NAMES, PHASE_NAMES, RECIPE_NAMES

__all__ = ["page"]

SHOWN_FEATURES = 15
BANDS = {"stable": ("stable", "稳定"), "shifted": ("shifted", "有偏移"), "unstable": ("unstable", "不稳定")}
TO = {**PARTY_NAMES, "both": ("both parties", "双方"), "sandbox": ("the job's sandbox", "任务沙箱")}
MODES = {
    "federated": ("federated: no row moves", "联邦建模：数据不出域"),
    "zone": ("sealed zone (joint laboratory)", "封闭实验区（联合实验室）"),
}
RELEASE = {
    "candidate": ("candidate, inside the zone", "候选，尚在域内"),
    "submitted": ("submitted for review", "已提交审核"),
    "partially_reviewed": ("one review in", "已有一份审核意见"),
    "reviewed": ("reviewed", "审核完成"),
    "approved": ("approved", "已批准"),
    "released": ("released", "已出域"),
    "rejected": ("rejected", "已驳回"),
    "recalled": ("recalled", "已召回"),
}


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bytes"] = _bytes
    environment.filters["seconds"] = lambda value: f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    return environment


def page(report: dict[str, Any]) -> str:
    """HTML of a validated report. Raises InvalidReport."""
    validate(report)
    curves = report["curves"]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            r=report,
            names=MODEL_NAMES,
            parties=PARTY_NAMES,
            to=TO,
            phases=PHASE_NAMES,
            bands=BANDS,
            mode=MODES[report["mode"]],
            recipe=RECIPE_NAMES[report["recipe"]["name"]],
            release=RELEASE.get(report["release"]["state"], (report["release"]["state"],) * 2),
            forest=charts.forest(report["models"], MODEL_NAMES),
            roc=charts.roc(curves),
            ks=charts.ks(curves["joint"]["roc"], report["models"]["joint"]["ks"]),
            scores=charts.scores(curves["joint"]["distribution"]),
            calibration=charts.calibration(curves),
            importance=report["importance"][:SHOWN_FEATURES],
            importance_by_party={
                party: sum(item["share"] for item in report["importance"] if item["party"] == party)
                for party in PARTY_NAMES
            },
            widest=max((item["share"] for item in report["importance"]), default=1.0),
            features=report["stability"]["features"][:SHOWN_FEATURES],
            more_features=max(0, len(report["stability"]["features"]) - SHOWN_FEATURES),
        )
    )


def _bytes(value: float) -> str:
    size = float(value)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
