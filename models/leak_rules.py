"""When a column looks like a leak: thresholds and wording, shared by every place that screens.

Owns the judgement, not the measuring: `models.leaks` measures in plaintext, the engine's label-by-bin screen measures
under encryption, and both ask here. It imports the standard library only (Python 3.10 runs it too).

The thresholds rest on clean credit data, where the strongest honest column alone reached AUC .77 (a profit ratio
against bankruptcy), while fields rewritten after the outcome started at .97.
"""

from __future__ import annotations

from typing import Any

__all__ = ["EXCLUDE", "WARN", "judge", "judge_screened", "late_share"]

EXCLUDE, WARN = "exclude", "warn"
AUC_EXCLUDE = 0.90  # nothing known before a loan ranks its outcome like this alone
AUC_OVER_REST = 0.02  # one column better than all the owner's others together
AUC_FLOOR = 0.60  # below this the comparison with the rest says little
AUC_FAR_OVER_REST = 0.20
MISSING_EXCLUDE, MISSING_WARN = 0.60, 0.20  # difference in missing share between bads and goods
ODDS_EXCLUDE, ODDS_WARN = 10.0, 3.0  # odds ratio of bad, irregular against regular figures of similar size
LEVEL_EXCLUDE, LEVEL_WARN = 50.0, 5.0  # odds ratio of bad, one category level against all others
DATES_EXCLUDE, DATES_WARN = 0.05, 0.0  # share of dates after the date at which features were known


def judge(
    party: str,
    column: str,
    auc: float,
    rest_auc: float | None = None,
    missing_gap: float = 0.0,
    regularity: dict[str, float] | None = None,
    level: dict[str, float] | None = None,
    late_dates: float = 0.0,
) -> dict[str, Any] | None:
    """The leak record of one column, or None when nothing stands out.

    auc: of the column alone, out of sample. rest_auc: of the owner's other unsuspicious columns together.
    missing_gap: missing share among bads minus among goods. regularity: {"unit", "good", "bad", "odds_ratio"}, the
    share of multiples of `unit` among goods and bads and the odds ratio within figures of similar size. level: {"bad",
    "elsewhere", "odds_ratio"}, bad rates of a category's most extreme level and of the rest.
    late_dates: share of dates after as_of. Shares are in [0, 1]; auc in [0, 1].
    """
    found: list[tuple[str, str, str]] = []
    if late_dates > DATES_WARN:
        severity = EXCLUDE if late_dates >= DATES_EXCLUDE else WARN
        found.append(
            (
                severity,
                f"{late_dates:.1%} of its dates lie after the date at which features were known",
                f"{late_dates:.1%} 的日期晚于特征取数时点",
            )
        )
    gap = abs(missing_gap)
    if gap >= MISSING_WARN:
        who, who_zh = ("bads", "坏客户") if missing_gap > 0 else ("goods", "好客户")
        found.append(
            (
                EXCLUDE if gap >= MISSING_EXCLUDE else WARN,
                f"it is missing {gap:.0%} more often for {who}: filled in with the outcome in view?",
                f"{who_zh}的缺失率高出 {gap:.0%}：可能在结果已知后才填写",
            )
        )
    if regularity and regularity["odds_ratio"] >= ODDS_WARN:
        unit, good, bad = regularity["unit"], regularity["good"], regularity["bad"]
        found.append(
            (
                EXCLUDE if regularity["odds_ratio"] >= ODDS_EXCLUDE else WARN,
                f"multiples of {unit:g} are {good:.1%} of goods' figures and {bad:.1%} of bads': rewritten afterwards?",
                f"好客户中 {good:.1%} 为 {unit:g} 的倍数，坏客户中仅 {bad:.1%}：数值可能在结果发生后被改写",
            )
        )
    if level and level["odds_ratio"] >= LEVEL_WARN:
        bad, elsewhere = level["bad"], level["elsewhere"]
        found.append(
            (
                EXCLUDE if level["odds_ratio"] >= LEVEL_EXCLUDE else WARN,
                f"one of its levels is bad in {bad:.0%} of cases against {elsewhere:.0%} elsewhere: coded afterwards?",
                f"其中一个取值的坏客户占比为 {bad:.0%}，其余仅 {elsewhere:.0%}：可能在结果发生后重新编码",
            )
        )
    far = rest_auc is not None and auc >= rest_auc + AUC_FAR_OVER_REST and auc >= 0.8
    if auc >= AUC_EXCLUDE or far:
        found.append((EXCLUDE, f"alone it ranks the outcome with AUC {auc:.2f}", f"单独一列的 AUC 即达 {auc:.2f}"))
    elif rest_auc is not None and auc >= AUC_FLOOR and auc >= rest_auc + AUC_OVER_REST:
        found.append(
            (
                WARN,
                f"alone it reaches AUC {auc:.2f}, more than all other columns of this owner together ({rest_auc:.2f})",
                f"单独一列的 AUC 为 {auc:.2f}，高于该方其余各列之和（{rest_auc:.2f}）",
            )
        )
    if not found:
        return None
    severity = EXCLUDE if any(level == EXCLUDE for level, _, _ in found) else WARN
    record: dict[str, Any] = {
        "party": party,
        "column": column,
        "severity": severity,
        "reason": "; ".join(text for _, text, _ in found),
        "reason_zh": "；".join(text for _, _, text in found),
        "auc": round(auc, 4),
        "missing_gap": round(missing_gap, 4),
    }
    if rest_auc is not None:
        record["rest_auc"] = round(rest_auc, 4)
    return record


def judge_screened(row: dict[str, Any]) -> dict[str, Any] | None:
    """`judge` on one row of the engine's encrypted screen: {"party", "column", "auc", "missing_auc", "late_dates"}."""
    # The AUC of a yes/no column is one half plus half the difference in its share between bads and goods.
    gap = 2 * (float(row["missing_auc"]) - 0.5)
    late = float(row.get("late_dates", 0.0))
    return judge(row["party"], row["column"], float(row["auc"]), missing_gap=gap, late_dates=late)


def late_share(days: Any) -> float:
    """Share of a numpy array of days after as_of (NaN = missing) that lie after it; 0 when all are missing."""
    known = days[days == days]
    return float((known > 0).mean()) if len(known) else 0.0
