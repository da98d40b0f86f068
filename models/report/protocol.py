"""Which protocol ran, whom one has to trust for it, and what it revealed to whom.

Owns these statements, in English and Chinese, for both modes. They describe by design what each protocol discloses;
facts measured by the engine (versions, key sizes, its own list of disclosures) are merged in when it reports them.
"""

from __future__ import annotations

from typing import Any

__all__ = ["describe"]

Reveal = dict[str, str]


def describe(ticket: dict[str, Any], engine: dict[str, Any] | None = None) -> dict[str, Any]:
    """The report's protocol block: psi, training, trust_model(_zh), reveals, caveats.

    `engine` is the protocol object of the engine's summary (federated mode); its `revealed` list wins over the
    general one, because the engine knows which of its variants ran.
    """
    recipe = ticket["recipe"]["name"]
    if ticket["mode"] == "zone":
        return _zone(recipe)
    settings = ticket["protocol"]
    return _boosting(settings, engine or {}) if recipe == "boosting" else _logistic(settings, engine or {})


def _reveal(to: str, what: str, what_zh: str) -> Reveal:
    return {"to": to, "what": what, "what_zh": what_zh}


def _caveat(text: str, text_zh: str) -> Reveal:
    return {"text": text, "text_zh": text_zh}


_SCREEN = _reveal(
    "bank",
    "for each of the lab's columns, goods and bads per unnamed bin (leak screen under homomorphic encryption)",
    "公共信用方各列在匿名分箱中的好、坏客户数（同态加密下的泄漏筛查）",
)
_INTERSECTION = _reveal(
    "both",
    "which enterprises both parties hold with a live consent (private set intersection)",
    "双方共有且授权有效的企业名单（隐私求交结果）",
)
_ROLES = _reveal("lab", "which rows fit, calibrate and test the model", "哪些行用于训练、校准与测试")
_OUTCOME = _reveal(
    "both",
    "this report; the model itself only after two reviewers released it",
    "本报告；模型须经两名审核人同意后方可出域",
)
_SEMI_HONEST = (
    "Semi-honest: both parties run the agreed program, each may study all it receives. A party that changes its "
    "program is not caught by the protocol.",
    "半诚实模型：双方均按约定程序执行，但可研究收到的全部信息；协议本身不能发现擅自修改程序的一方。",
)


def _zone(recipe: str) -> dict[str, Any]:
    return {
        "psi": "none (joined inside the zone)",
        "training": "LightGBM in the job's sandbox"
        if recipe == "boosting"
        else "WOE + logistic regression in the job's sandbox",
        "trust_model": "The bank trusts the sealed zone: its sample leaves its domain encrypted to the zone's key, "
        "bound to this job's ticket, and is opened only in the memory of this job's sandbox, without network, "
        "destroyed afterwards. Whoever controls the zone's machine could break this.",
        "trust_model_zh": "银行信任封闭实验区：样本以实验区密钥加密并与本任务书绑定后出域，仅在本任务沙箱内存中解密；"
        "沙箱无网络，任务结束即销毁。控制实验区主机者理论上可突破此保护。",
        "reveals": [
            _reveal(
                "sandbox",
                "the bank's sample and the lab's rows of the common enterprises, in memory, for this job only",
                "双方共有企业的样本，仅在本任务沙箱内存中可见",
            ),
            _reveal(
                "lab",
                "how many enterprises the bank's sample holds and how large it is, not which, nor any label",
                "银行样本的行数与大小；不含企业名单与标签",
            ),
            _reveal("bank", "nothing of the lab's rows", "不含公共信用方的任何行数据"),
            _OUTCOME,
        ],
        "caveats": [],
    }


def _heu(settings: dict[str, Any]) -> str:
    heu = settings["heu"]
    return f"{heu['schema']} {heu['key_size']} bit"


def _ou_caveat(settings: dict[str, Any]) -> list[Reveal]:
    if settings["heu"]["schema"] != "ou":
        return []
    return [
        _caveat(
            "The Okamoto–Uchiyama scheme has a documented attack when somebody can observe decryptions of chosen "
            "ciphertexts; zpaillier is the slower choice without it.",
            "Okamoto–Uchiyama 方案在攻击者能观察到所选密文的解密结果时存在已知攻击；zpaillier 较慢但无此问题。",
        )
    ]


def _boosting(settings: dict[str, Any], engine: dict[str, Any]) -> dict[str, Any]:
    reveals = [
        _INTERSECTION,
        _ROLES,
        _SCREEN,
        _reveal(
            "bank",
            "per tree and node, sums of gradients over the lab's bins in shuffled order, and which rows go left at "
            "each of the lab's splits; not the column or threshold",
            "每棵树每个节点上，公共信用方各分箱（顺序打乱）的梯度之和，以及其分裂时进入左支的行；不含列名与阈值",
        ),
        _reveal(
            "lab",
            "the shape of the trees, its own splits with their gains, and the rows at the nodes; no label, gradient or "
            "leaf value",
            "树的结构、本方分裂及其增益、各节点包含的行；不含标签、梯度与叶值",
        ),
    ]
    return {
        "psi": settings["psi"],
        "training": f"vertical gradient boosting (SecretFlow), homomorphic encryption {_heu(settings)}, bank's key",
        "heu": dict(settings["heu"]),
        "trust_model": _SEMI_HONEST[0],
        "trust_model_zh": _SEMI_HONEST[1],
        "reveals": [*engine.get("revealed", reveals), _OUTCOME],
        "caveats": _ou_caveat(settings),
    }


def _logistic(settings: dict[str, Any], engine: dict[str, Any]) -> dict[str, Any]:
    reveals = [
        _INTERSECTION,
        _ROLES,
        _SCREEN,
        _reveal(
            "lab",
            "the weight of evidence of each bin of its own columns, that is its bad rate up to one constant",
            "本方各列每个分箱的证据权重，即除一个常数外的坏客户占比",
        ),
        _reveal(
            "both",
            "each its own coefficients; the scale of the label and when training converged; the intercept only to the "
            "bank",
            "各方自己变量的系数、标签尺度与收敛时点；截距仅银行可见",
        ),
    ]
    caveats = _ou_caveat(settings)
    trust, trust_zh = _SEMI_HONEST
    if settings["spu"] == "SEMI2K":
        trust += (
            " Besides, SEMI2K between two parties trusts a helper, run by the first party, for multiplication triples."
        )
        trust_zh += "此外，两方 SEMI2K 需信任由第一方运行的乘法三元组生成器。"
        caveats.insert(
            0,
            _caveat(
                "SEMI2K with two parties takes its multiplication triples from a generator at the first party: if that "
                "party cheats, the other's shares are not safe. CHEETAH needs no helper.",
                "两方 SEMI2K 的乘法三元组由第一方生成：若其作弊，另一方的份额将不安全。CHEETAH 无需第三方。",
            ),
        )
    return {
        "psi": settings["psi"],
        "training": f"WOE + logistic regression on secret shares (SPU {settings['spu']}, {settings['field']}); WOE "
        f"under homomorphic encryption {_heu(settings)}",
        "heu": dict(settings["heu"]),
        "spu": settings["spu"],
        "field": settings["field"],
        "trust_model": trust,
        "trust_model_zh": trust_zh,
        "reveals": [*engine.get("revealed", reveals), _OUTCOME],
        "caveats": caveats,
    }
