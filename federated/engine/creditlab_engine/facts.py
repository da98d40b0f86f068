"""What ran, under which trust assumption, and what it told whom: the protocol's part of the report.

Owns these statements, in English and Chinese, and the versions of the libraries behind them. It runs nothing.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "secretflow": version("secretflow"),
        "spu": version("spu"),
        "heu": version("sf-heu"),
    }


def _told(to: str, what: str, what_zh: str) -> dict[str, str]:
    return {"to": to, "what": what, "what_zh": what_zh}


_COMMON = [
    _told("both", "which enterprises both parties hold and have live consents", "双方共有且授权有效的企业名单"),
    _told("lab", "which rows fit, calibrate and test the model", "哪些行用于建模、校准和测试"),
    _told(
        "bank",
        "for each of the lab's columns, goods and bads per bin, not the bins' borders or levels",
        "公共信用方每一列各分箱的好坏样本数，不含分箱边界或类别名称",
    ),
]
_DATED = _told(
    "bank",
    "for each of the lab's columns that holds dates, the share that lies after the as-of date",
    "公共信用方每个日期列中晚于取数时点的占比",
)
_SAME_DATES = _told(
    "both",
    "whether all common enterprises carry the same as-of dates, not the dates",
    "共有企业的取数时点是否全部一致，不含具体日期",
)
_EXCLUDED = _told(
    "lab",
    "which of its own columns look like near-certain leaks of the outcome and were left out",
    "本方哪些列疑似几乎必然泄漏结果而被剔除",
)
_BOOSTING = [
    _told(
        "bank",
        "per tree and node, sums of gradients over bins of the lab's columns, in an order the lab redraws each tree",
        "每棵树每个节点上，公共信用方各列分箱内的梯度之和，其排列顺序由公共信用方逐树重新随机生成",
    ),
    _told(
        "bank",
        "for each possible split of the lab's columns at a node, whether it leaves enough rows on both sides",
        "每个节点上公共信用方各候选分裂是否在两侧都保留足够的行数",
    ),
    _told(
        "bank",
        "for each row and tree, which leaves the lab's splits leave open",
        "每一行在每棵树上公共信用方的分裂仍可到达哪些叶子",
    ),
    _told(
        "bank",
        "which rows go left at each split of the lab, not the column or threshold",
        "公共信用方每次分裂后哪些行进入左支，不含列名或阈值",
    ),
    _told(
        "lab",
        "the shape of the trees, its own splits with their gains, and the rows at the nodes",
        "树的结构、本方的分裂及其增益，以及各节点包含的行",
    ),
]
_LOGISTIC = [
    _told(
        "lab",
        "the weight of evidence of each bin of its own columns, that is the bad rate of each bin up to one constant",
        "本方各列每个分箱的证据权重，即除一个常数外各分箱的坏账率",
    ),
    _told(
        "bank",
        "the weighted cross products of all model columns at each Newton step (aggregates over rows)",
        "每个牛顿步中全部入模列的加权交叉乘积（对行汇总）",
    ),
    _told(
        "both",
        "each party's own coefficients; the intercept only to the bank",
        "各方得到自己变量的系数；截距只告知银行",
    ),
    _told("bank", "for each row, the sum of the lab's part of the margin", "每一行上公共信用方部分的得分之和"),
]
_TRUST = {
    "SEMI2K": (
        "semi-honest; the bank's engine generates the multiplication triples and is trusted to forget them "
        "(CHEETAH needs no such trust)",
        "半诚实模型；乘法三元组由银行方引擎生成，需信任其不留存（CHEETAH 协议无需此信任）",
    ),
    "CHEETAH": ("semi-honest, two parties, no helper", "半诚实模型，两方直接计算，无第三方"),
}


def protocol(ticket: dict[str, Any]) -> dict[str, Any]:
    """Facts for the report: settings, trust model, what was revealed to whom."""
    settings = ticket["protocol"]
    boosting = ticket["recipe"]["name"] == "boosting"
    trust = ("semi-honest: both parties run the agreed program", "半诚实模型：双方均按约定的程序执行")
    out: dict[str, Any] = {
        "psi": settings["psi"] + (" (curve 25519)" if settings["psi"] == "ECDH" else ""),
        "heu": {
            "schema": settings["heu"]["schema"],
            "key_size": int(settings["heu"]["key_size"]),
            "secret_key": "bank",
        },
        "trust": trust[0],
        "trust_zh": trust[1],
        "revealed": _COMMON
        + ([_SAME_DATES, _DATED] if ticket["dataset"].get("as_of") else [])
        + ([_EXCLUDED] if ticket["leaks"] == "exclude" else [])
        + (_BOOSTING if boosting else _LOGISTIC),
    }
    if not boosting:
        english, chinese = _TRUST[settings["spu"]]
        out |= {"spu": settings["spu"], "field": settings["field"], "trust": english, "trust_zh": chinese}
    return out
