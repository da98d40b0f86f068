"""What figures mean, in sentences a banker can act on, in English and Chinese.

Owns the rules that turn intervals into statements: an uplift is claimed only when its whole 95 % interval lies above
zero, and its absence is stated as plainly as its presence. It computes no figure.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "MODEL_NAMES",
    "PARTY_NAMES",
    "PHASE_NAMES",
    "RECIPE_NAMES",
    "calibration_statement",
    "stacking_statement",
    "uplift_statement",
]

MODEL_NAMES = {
    "bank_only": ("bank only", "仅银行数据"),
    "lab_only": ("lab score alone", "仅公共信用评分"),
    "stacked": ("two scores stacked", "两分叠加"),
    "joint": ("joint model", "联合建模"),
}
PARTY_NAMES = {"bank": ("bank", "银行"), "lab": ("public credit lab", "公共信用实验室")}
RECIPE_NAMES = {
    "boosting": ("gradient boosting", "梯度提升树"),
    "logistic": ("WOE scorecard (logistic regression)", "WOE 评分卡（逻辑回归）"),
}
PHASE_NAMES = {
    "psi": ("private set intersection", "隐私求交"),
    "screen": ("leak screen", "泄漏筛查"),
    "screen_bank": ("leak screen of the bank's columns", "银行列泄漏筛查"),
    "fit_lab": ("training the lab score", "训练公共信用评分"),
    "fit_joint": ("training the joint model", "训练联合模型"),
    "predict": ("scoring", "打分"),
    "open": ("opening the sealed sample", "解封样本"),
    "fit": ("training", "训练"),
    "evaluate": ("evaluation", "评估"),
}
SMALL = 0.005  # an AUC difference that hardly moves a decision


def uplift_statement(uplift: dict[str, Any], base: float, joint: float) -> tuple[str, str, str]:
    """(verdict, statement, statement_zh) of joint against bank only; verdict is proven, unproven or worse."""
    gain, (low, high) = uplift["auc"], uplift["auc_ci"]
    span, span_zh = f"{low:+.3f} to {high:+.3f}", f"{low:+.3f} 至 {high:+.3f}"
    if low > 0:
        small = "; proven, but small" if gain < SMALL else ""
        small_zh = "；提升已证实，但幅度很小" if gain < SMALL else ""
        return (
            "proven",
            f"Together the parties rank enterprises better than the bank alone: AUC rises by {gain:.3f} "
            f"(95 % interval {span}), from {base:.3f} to {joint:.3f}{small}.",
            f"联合建模的排序能力优于银行单独建模：AUC 提高 {gain:.3f}（95% 区间 {span_zh}），"
            f"由 {base:.3f} 升至 {joint:.3f}{small_zh}。",
        )
    if high < 0:
        return (
            "worse",
            f"The joint model ranks worse than the bank alone: AUC falls by {-gain:.3f} (95 % interval {span}), from "
            f"{base:.3f} to {joint:.3f}. It should not be used in place of the bank's own.",
            f"联合模型的排序能力低于银行单独建模：AUC 下降 {-gain:.3f}（95% 区间 {span_zh}），"
            f"由 {base:.3f} 降至 {joint:.3f}。不应替代银行自有模型。",
        )
    return (
        "unproven",
        f"No uplift is proven: AUC changes by {gain:+.3f}, from {base:.3f} to {joint:.3f}, and the 95 % interval "
        f"{span} includes zero.",
        f"未证实有提升：AUC 变化 {gain:+.3f}（由 {base:.3f} 到 {joint:.3f}），95% 区间 {span_zh} 包含零。",
    )


def stacking_statement(uplift: dict[str, Any]) -> tuple[str, str]:
    """(statement, statement_zh) of joint training against adding up two separate scores."""
    gain, (low, high) = uplift["auc"], uplift["auc_ci"]
    if low > 0:
        return (
            f"Training jointly beats stacking two separate scores by {gain:.3f} AUC ({low:+.3f} to {high:+.3f}).",
            f"联合训练优于将两方评分简单叠加：AUC 高 {gain:.3f}（{low:+.3f} 至 {high:+.3f}）。",
        )
    if high < 0:
        return (
            f"Stacking two separate scores beats training jointly by {-gain:.3f} AUC ({-high:+.3f} to {-low:+.3f}): "
            "stack them.",
            f"将两方评分叠加优于联合训练：AUC 高 {-gain:.3f}（{-high:+.3f} 至 {-low:+.3f}），建议采用叠加。",
        )
    return (
        f"Training jointly does not provably beat stacking two separate scores: the difference is {gain:+.3f} AUC "
        f"({low:+.3f} to {high:+.3f}). Stacking is simpler and may be enough.",
        f"未证实联合训练优于评分叠加：AUC 相差 {gain:+.3f}（{low:+.3f} 至 {high:+.3f}）。叠加更简单，可能已足够。",
    )


def calibration_statement(check: dict[str, Any]) -> tuple[str, str]:
    """(statement, statement_zh) of the mean predicted PD against the bad rate of the test window."""
    predicted, observed = check["predicted"], check["observed"]
    told = f"predicted {predicted:.1%}, observed {observed:.1%}"
    told_zh = f"预测 {predicted:.1%}，实际 {observed:.1%}"
    ratio = predicted / observed if observed > 0 else float("inf")
    if ratio < 0.85:
        return (
            f"On the test window the joint model understates risk ({told}): recalibrate on recent loans before using "
            "its probabilities.",
            f"测试窗口内联合模型低估风险（{told_zh}）：使用违约概率前应以近期贷款重新校准。",
        )
    if ratio > 1.15:
        return (
            f"On the test window the joint model overstates risk ({told}): recalibrate on recent loans before using "
            "its probabilities.",
            f"测试窗口内联合模型高估风险（{told_zh}）：使用违约概率前应以近期贷款重新校准。",
        )
    return (
        f"The level of the probabilities holds on the test window ({told}).",
        f"测试窗口内违约概率的总体水平相符（{told_zh}）。",
    )
