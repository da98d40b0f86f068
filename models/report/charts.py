"""Line and bar charts as inline SVG, legible on a phone and on paper, in both languages.

Owns drawing only: points come from the report. Text elements carry class zh or en; the page shows one language.
Colour never stands alone: lines also differ in dash, bars in position and label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

__all__ = ["calibration", "forest", "ks", "roc", "scores"]

WIDTH, HEIGHT = 420, 320
LEFT, RIGHT, TOP, BOTTOM = 60, 22, 12, 44
MODELS = ("bank_only", "lab_only", "stacked", "joint")
Point = tuple[float, float]


def _text(x: float, y: float, english: str, chinese: str | None = None, anchor: str = "middle", more: str = "") -> str:
    def one(text: str, language: str) -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{language}{more}>{escape(text)}</text>'

    if chinese is None:
        return one(english, "")
    return one(chinese, ' class="zh"') + one(english, ' class="en"')


def _svg(body: Sequence[str], title: tuple[str, str], height: int = HEIGHT) -> Markup:
    label = escape(f"{title[1]} / {title[0]}")
    # Every text in the body went through escape() in _text; the rest are numbers and our own class names.
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(body)}</svg>'
    )


class _Plane:
    """A plot area with ticks; maps data to pixels."""

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], percent: tuple[bool, bool] = (True, True)
    ) -> None:
        self.x, self.y, self.percent = x, y, percent

    def at(self, point: Point) -> Point:
        (x0, x1), (y0, y1) = self.x, self.y
        px = LEFT + (point[0] - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        py = HEIGHT - BOTTOM - (point[1] - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return px, py

    def line(self, points: Sequence[Point], css: str) -> str:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.at, points))
        return f'<polyline class="line {css}" points="{path}"/>'

    def frame(self, x_label: tuple[str, str], y_label: tuple[str, str], ticks: int = 5) -> list[str]:
        out = []
        for i in range(ticks + 1):
            vx = self.x[0] + (self.x[1] - self.x[0]) * i / ticks
            vy = self.y[0] + (self.y[1] - self.y[0]) * i / ticks
            px, _ = self.at((vx, self.y[0]))
            _, py = self.at((self.x[0], vy))
            out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py:.1f}" y2="{py:.1f}"/>')
            out.append(_text(px, HEIGHT - BOTTOM + 16, self._label(vx, 0)))
            out.append(_text(LEFT - 6, py + 4, self._label(vy, 1), anchor="end"))
        out.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, *x_label))
        turn = f' transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2:.0f})"'
        out.append(_text(14, (TOP + HEIGHT - BOTTOM) / 2, *y_label, more=turn))
        return out

    def _label(self, value: float, axis: int) -> str:
        if not self.percent[axis]:
            return f"{value:.0f}"
        span = (self.x, self.y)[axis]
        return f"{100 * value:.0f}%" if span[1] - span[0] > 0.06 else f"{100 * value:.1f}%"


def roc(curves: dict[str, Any]) -> Markup:
    """ROC of the four models."""
    plane = _Plane((0, 1), (0, 1))
    body = plane.frame(
        ("good enterprises rejected", "被误拒的好客户占比"), ("bad enterprises caught", "识别出的坏客户占比")
    )
    body.append(plane.line([(0, 0), (1, 1)], "diagonal"))
    body += [plane.line([(p["fpr"], p["tpr"]) for p in curves[name]["roc"]], name) for name in MODELS]
    return _svg(body, ("ROC curves", "ROC 曲线"))


def ks(points: Sequence[dict[str, float]], value: float) -> Markup:
    """Cumulative shares of goods and bads by share of enterprises, worst first; `value` is the KS of all rows."""
    plane = _Plane((0, 1), (0, 1))
    body = plane.frame(("enterprises, riskiest first", "按风险从高到低排列的企业"), ("cumulative share", "累计占比"))
    best = max(points, key=lambda p: abs(p["tpr"] - p["fpr"]))
    (x, top), (_, bottom) = plane.at((best["share"], best["tpr"])), plane.at((best["share"], best["fpr"]))
    body.append(f'<line class="gap" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>')
    body.append(plane.line([(p["share"], p["tpr"]) for p in points], "bads"))
    body.append(plane.line([(p["share"], p["fpr"]) for p in points], "goods"))
    anchor, shift = ("start", 6) if best["share"] < 0.6 else ("end", -6)
    body.append(_text(x + shift, (top + bottom) / 2 + 4, f"KS {value:.3f}", anchor=anchor, more=' font-weight="600"'))
    return _svg(body, ("KS curve of the joint model", "联合模型 KS 曲线"))


def scores(bins: Sequence[dict[str, Any]]) -> Markup:
    """Shares of goods and bads per score bin, side by side."""
    top = max(max(b["goods"], b["bads"]) for b in bins)
    ceiling = next(step for step in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0) if top <= step)
    plane = _Plane((0, len(bins)), (0, ceiling), (False, True))
    body = []
    for i in range(6):
        _, y = plane.at((0, ceiling * i / 5))
        body.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(_text(LEFT - 6, y + 4, f"{100 * ceiling * i / 5:.0f}%", anchor="end"))
    base = HEIGHT - BOTTOM
    every = max(1, round(len(bins) / 6))
    for index, block in enumerate(bins):
        for offset, name in ((0.08, "bads"), (0.5, "goods")):
            x0, y = plane.at((index + offset, block[name]))
            x1, _ = plane.at((index + offset + 0.42, 0))
            body.append(
                f'<rect class="bar {name}" x="{x0:.1f}" y="{y:.1f}" width="{x1 - x0:.1f}" height="{base - y:.1f}"/>'
            )
        if block["from"] is not None and index % every == 0:
            x, _ = plane.at((index, 0))
            body.append(_text(x, base + 16, f"{block['from']:.0f}"))
    body.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "score (higher is safer)", "评分（越高越安全）"))
    turn = f' transform="rotate(-90 14 {(TOP + base) / 2:.0f})"'
    body.append(_text(14, (TOP + base) / 2, "share of its class", "占本类比例", more=turn))
    return _svg(body, ("score distribution", "评分分布"))


def calibration(curves: dict[str, Any]) -> Markup:
    """Predicted against observed bad rate of the joint and the bank-only model."""
    shown = {name: curves[name]["calibration"] for name in ("bank_only", "joint")}
    top = max(max(p["predicted"], p["observed"]) for points in shown.values() for p in points)
    ceiling = next(step for step in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0) if top <= step)
    plane = _Plane((0, ceiling), (0, ceiling))
    body = plane.frame(("predicted probability of default", "预测违约概率"), ("observed bad rate", "实际坏客户占比"))
    body.append(plane.line([(0, 0), (ceiling, ceiling)], "diagonal"))
    for name, points in shown.items():
        pairs = [(p["predicted"], p["observed"]) for p in points]
        body.append(plane.line(pairs, name))
        if name == "joint":
            body += [f'<circle class="dot joint" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in map(plane.at, pairs)]
    return _svg(body, ("calibration", "校准曲线"))


def forest(models: dict[str, Any], names: dict[str, tuple[str, str]]) -> Markup:
    """AUC of the four models with their intervals on one axis."""
    low = min(models[name]["auc_ci"][0] for name in MODELS)
    high = max(models[name]["auc_ci"][1] for name in MODELS)
    start, stop = 0.02 * int(low / 0.02), min(1.0, 0.02 * (int(high / 0.02) + 1))
    left, right, row = 134, WIDTH - 58, 34

    def at(value: float) -> float:
        return left + (value - start) / (stop - start) * (right - left)

    height = row * len(MODELS) + 34
    body = []
    steps = 4
    for i in range(steps + 1):
        value = start + (stop - start) * i / steps
        body.append(f'<line class="grid" x1="{at(value):.1f}" x2="{at(value):.1f}" y1="6" y2="{height - 28}"/>')
        body.append(_text(at(value), height - 12, f"{value:.2f}"))
    for index, name in enumerate(MODELS):
        block, y = models[name], 6 + row * (index + 0.5)
        english, chinese = names[name]
        body.append(_text(left - 10, y + 4, english, chinese, anchor="end"))
        (from_, to), value = block["auc_ci"], block["auc"]
        body.append(f'<line class="whisker {name}" x1="{at(from_):.1f}" x2="{at(to):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<circle class="dot {name}" cx="{at(value):.1f}" cy="{y:.1f}" r="5.5"/>')
        body.append(_text(right + 12, y + 4, f"{value:.3f}", anchor="start", more=' font-weight="600"'))
    return _svg(body, ("AUC with 95 % intervals", "AUC 及 95% 区间"), height)
