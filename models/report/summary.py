"""A report in a dozen lines of text, Chinese first, for a terminal or an e-mail."""

from __future__ import annotations

from typing import Any

from models.report.wording import MODEL_NAMES, RECIPE_NAMES

__all__ = ["summary"]


def summary(report: dict[str, Any]) -> str:
    """What a banker needs to know, in Chinese and English."""
    cohort, release = report["cohort"], report["release"]
    recipe, recipe_zh = RECIPE_NAMES[report["recipe"]["name"]]
    mode_zh = {"federated": "联邦建模（数据不出域）", "zone": "封闭实验区建模"}[report["mode"]]
    lines = [
        f"{report['dataset']['title']} · {mode_zh} · {recipe_zh}",
        f"{report['dataset']['title']} · {report['mode']} mode · {recipe}",
        "",
        f"  样本 sample      银行 bank {cohort['bank_rows']:,}　实验室 lab {cohort['lab_rows']:,}　"
        f"授权 consented {cohort['consented']:,}　共有 common {cohort['intersection']:,}　"
        f"测试 test {cohort['test']:,}（坏账率 bad rate {cohort['bad_rate_test']:.1%}）",
        "",
        "  模型 model                            AUC    95%             KS",
    ]
    for name, (english, chinese) in MODEL_NAMES.items():
        block = report["models"][name]
        low, high = block["auc_ci"]
        label = f"{chinese} {english}"
        pad = " " * max(1, 38 - sum(2 if ord(c) > 0x2E7F else 1 for c in label))
        lines.append(f"  {label}{pad}{block['auc']:.3f}  {low:.3f}–{high:.3f}     {block['ks']:.3f}")
    lines += [
        "",
        f"  {report['uplift']['statement_zh']}",
        f"  {report['uplift']['statement']}",
        f"  {report['uplift_over_stacked']['statement_zh']}",
        f"  {report['uplift_over_stacked']['statement']}",
        f"  {report['calibration']['statement_zh']}",
        f"  {report['calibration']['statement']}",
        "",
    ]
    for leak in report["leaks"]:
        action = "剔除 excluded" if _excluded(report, leak) else "提示 warning"
        lines.append(
            f"  疑似泄漏 leak? {leak['party']}.{leak['column']} [{action}] {leak['reason_zh']} / {leak['reason']}"
        )
    egress = report["egress"]
    lines += [
        f"  出域字节 egress  银行→实验室 bank→lab {egress['bank_to_lab_bytes']:,}　"
        f"实验室→银行 lab→bank {egress['lab_to_bank_bytes']:,}",
        f"  模型状态 release {release['state']}　{(release['sha256'] or '')[:16]}",
    ]
    return "\n".join(lines)


def _excluded(report: dict[str, Any], leak: dict[str, Any]) -> bool:
    return {"party": leak["party"], "column": leak["column"]} in report["excluded_columns"]
