"""The parts of the documentation that are made from the code: `.venv/bin/python docs/generate.py [--check]`.

Owns the state diagrams (from the transition tables), the tables of consent (fields, purposes, templates, decision
table), the table of cause codes (which codes exist is read from the source, what to do about each is
`docs/causes.toml`), the list of report keys (from the schema) and what each mode reveals (from the statements that
reports carry). Everything else in a page is written by hand: only what stands between a page's markers is replaced.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PROJECT = DOCS.parent

# Calls whose first argument is a code that a person may be shown as the cause of an end or a refusal.
_CALLS = frozenset(
    (
        "Cause",
        "cause",
        "TaskError",
        "RecipeError",
        "ScoringError",
        "EngineError",
        "Denied",
        "Rule",
        "RegistryError",
        "fail",
    )
)
_TREES = ("enclave", "federated", "models", "consent", "api/jobs")
_NOT_ENDINGS = frozenset(("done",))  # a link's ordinary end


# ---- cause codes -------------------------------------------------------------------------------------------------


def codes() -> dict[str, set[str]]:
    """Code → the parts of the code that speak of it ("enclave", "engine", …)."""
    found: dict[str, set[str]] = {}
    for name in _TREES:
        for path in sorted((PROJECT / name).rglob("*.py")):
            if ".venv" in path.parts:
                continue
            engine = "creditlab_engine" in path.parts
            part = "engine" if engine else name.partition("/")[0]
            for code in _codes_in(ast.parse(path.read_text(encoding="utf-8")), path.name):
                if code not in _NOT_ENDINGS:
                    found.setdefault(code, set()).add(part)
    return found


def _codes_in(tree: ast.AST, file: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in _CALLS and node.args:
            yield from _text(node.args[0])
        elif isinstance(node, ast.ClassDef) and (
            node.name.startswith("Invalid") or any(_name(base) == "FeedRefused" for base in node.bases)
        ):
            for line in node.body:
                if isinstance(line, ast.Assign) and _name(line.targets[0]) == "code":
                    yield from _text(line.value)
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and file == "tls.py":
            yield from _text(node.value.elts[0])
        elif isinstance(node, ast.AnnAssign) and _name(node.target) == "_TEXTS" and isinstance(node.value, ast.Dict):
            for key in node.value.keys:
                yield from _text(key)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _text(node: ast.AST | None) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
        yield node.value


def remedies() -> dict[str, dict[str, Any]]:
    """`causes.toml`: code → {means, do, means_zh, do_zh}, by group in the file's order."""
    return tomllib.loads((DOCS / "causes.toml").read_text(encoding="utf-8"))


def cause_table() -> str:
    found = codes()
    out = []
    for group in remedies().values():
        out += [f"#### {group['title_zh']} · {group['title']}", ""]
        out += ["| 代码 code | 来自 from | 含义 meaning | 处理 what to do |", "|---|---|---|---|"]
        for code, words in group["codes"].items():
            parts = ", ".join(sorted(found.get(code, ())))
            means, do = (f"{words[key + '_zh']}<br>{words[key]}" for key in ("means", "do"))
            out.append(f"| `{code}` | {parts} | {means} | {do} |")
        out.append("")
    return "\n".join(out)


# ---- state diagrams ----------------------------------------------------------------------------------------------


def diagrams() -> str:
    from api.admissions.states import ADMISSION, ONBOARDING
    from api.applications.states import APPLICATION, REFERRAL
    from api.consent_events.states import WEBHOOK
    from api.consents.requests import REQUEST
    from api.consents.states import CONSENT
    from api.credit.states import CREDIT, MEDIATION
    from api.disputes.states import DISPUTE
    from api.enterprises.states import CERTIFICATION, CORRECTION, ENTERPRISE, PASSKEY, PERSON
    from api.guarantees.states import GUARANTEE
    from api.incidents.states import INCIDENT
    from api.institutions.states import STANDING
    from api.jobs.states import JOB, PARTY
    from api.permits.states import PERMIT
    from api.products.states import PRODUCT
    from api.publications.states import PUBLICATION, QUESTION
    from api.recalls.states import NOTICE
    from api.releases.states import RELEASE
    from api.staff.states import ACCOUNT_SANCTION, STAFF, STAFF_PASSKEY
    from models.registry import TRANSITIONS

    machines = (
        ("作业 · job", JOB.initial, JOB.transitions),
        ("作业一方 · one party's part in a job", PARTY.initial, PARTY.transitions),
        ("放行 · release", RELEASE.initial, RELEASE.transitions),
        ("使用许可 · permit for one use", PERMIT.initial, PERMIT.transitions),
        ("授权（控制平面所存）· consent, as the control plane keeps it", CONSENT.initial, CONSENT.transitions),
        ("授权请求 · request for consent", REQUEST.initial, REQUEST.transitions),
        ("机构处分 · standing of a sanctioned institution", STANDING.initial, STANDING.transitions),
        ("重新训练通知 · retraining notice", NOTICE.initial, NOTICE.transitions),
        ("异议与投诉 · dispute or complaint", DISPUTE.initial, DISPUTE.transitions),
        ("融资产品 · financing product", PRODUCT.initial, PRODUCT.transitions),
        ("融资申请与需求 · application or open need", APPLICATION.initial, APPLICATION.transitions),
        ("受理单 · referral of an application to one institution", REFERRAL.initial, REFERRAL.transitions),
        ("授信 · credit", CREDIT.initial, CREDIT.transitions),
        ("调解 · mediation over a credit", MEDIATION.initial, MEDIATION.transitions),
        ("担保 · guarantee", GUARANTEE.initial, GUARANTEE.transitions),
        ("发布内容 · publication", PUBLICATION.initial, PUBLICATION.transitions),
        ("咨询 · question", QUESTION.initial, QUESTION.transitions),
        ("安全事件 · security incident", INCIDENT.initial, INCIDENT.transitions),
        ("事件回调 · webhook", WEBHOOK.initial, WEBHOOK.transitions),
        ("机构准入 · admission of an institution", ONBOARDING.initial, ONBOARDING.transitions),
        ("管理员申请 · application about admins", ADMISSION.initial, ADMISSION.transitions),
        ("机构人员 · a person of an institution", STAFF.initial, STAFF.transitions),
        ("机构人员通行密钥 · a person's passkey", STAFF_PASSKEY.initial, STAFF_PASSKEY.transitions),
        ("账户处分 · sanction against an account", ACCOUNT_SANCTION.initial, ACCOUNT_SANCTION.transitions),
        ("企业认证 · certification of an enterprise", CERTIFICATION.initial, CERTIFICATION.transitions),
        ("更正提示 · prompt for correction", CORRECTION.initial, CORRECTION.transitions),
        ("企业账户 · an enterprise's account", ENTERPRISE.initial, ENTERPRISE.transitions),
        ("企业经办人 · a person who acts for it", PERSON.initial, PERSON.transitions),
        ("通行密钥 · a passkey", PASSKEY.initial, PASSKEY.transitions),
        ("登记模型 · model in the zone's registry", {"candidate"}, TRANSITIONS),
    )
    return "\n".join(f"### {title}\n\n{diagram(initial, table)}" for title, initial, table in machines)


def diagram(initial: set[str] | frozenset[str], table: Mapping[str, Any]) -> str:
    """A Mermaid state diagram of a transition table."""
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in sorted(initial)]
    for state, targets in table.items():
        lines += [f"    {state} --> {target}" for target in sorted(targets)] or [f"    {state} --> [*]"]
    return "\n".join([*lines, "```", ""])


# ---- report keys -------------------------------------------------------------------------------------------------


def report_keys() -> str:
    """One line per key of a report, two levels deep, as the schema has them."""
    schema = json.loads((PROJECT / "models" / "report" / "report.schema.json").read_text(encoding="utf-8"))
    out = ["| key | type | 可缺 optional | schema says |", "|---|---|---|---|"]
    for path, node, required in _keys(schema, schema, "", 3):
        if path.startswith(("models.lab_only.", "models.stacked.", "models.joint.")):
            continue  # the same keys as models.bank_only
        if path.startswith(("curves.", "recipe.params.")):
            continue  # points of figures; parameters are the recipe's
        kind = _kind(node, schema)
        out.append(f"| `{path}` | {kind} | {'' if required else 'yes'} | {node.get('description', '')} |")
    return "\n".join(out) + "\n"


def _keys(node: Any, schema: Any, prefix: str, depth: int) -> Iterator[tuple[str, Any, bool]]:
    for key, child in node.get("properties", {}).items():
        target = _resolved(child, schema)
        yield f"{prefix}{key}", {**target, **child}, key in node.get("required", ())
        if depth > 1:
            listed = isinstance(target.get("items"), dict)  # a tuple's items may be the bare word false
            inner = _resolved(target["items"] if listed else target, schema)
            mark = "[]." if listed else "."
            yield from _keys(inner, schema, f"{prefix}{key}{mark}", depth - 1)


def _resolved(node: Any, schema: Any) -> Any:
    name = node.get("$ref", "").removeprefix("#/$defs/")
    if name:
        return schema["$defs"][name]
    for one in node.get("allOf", ()):
        if "$ref" in one:
            return {**schema["$defs"][one["$ref"].removeprefix("#/$defs/")], **node}
    return node


def _kind(node: Any, schema: Any) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    kind = node.get("type", "object")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


# ---- what is revealed --------------------------------------------------------------------------------------------


def reveals() -> str:
    """What a report says of disclosures, for every mode and recipe with the default protocol."""
    from consent.ticket import DEFAULT_PROTOCOL
    from models.report.protocol import describe

    facts = _engine_facts()
    out = []
    for mode, recipe, title in (
        ("zone", "boosting", "专区方式 · zone mode"),
        ("federated", "boosting", "联邦方式，提升树 · federated boosting"),
        ("federated", "logistic", "联邦方式，逻辑回归 · federated logistic"),
    ):
        ticket = {
            "mode": mode,
            "recipe": {"name": recipe},
            "protocol": DEFAULT_PROTOCOL,
            "dataset": {"as_of": "as_of"},
            "leaks": "exclude",
        }
        told = describe(ticket, facts.protocol(ticket) if mode == "federated" else None)
        out += [f"### {title}", "", f"{told['training']}. {told['trust_model']}", "", told["trust_model_zh"], ""]
        out += ["| 向谁 to | 透露什么 what |", "|---|---|"]
        out += [f"| {one['to']} | {one['what_zh']}<br>{one['what']} |" for one in told["reveals"]]
        out += ["", *(f"> {one['text_zh']}<br>{one['text']}\n" for one in told["caveats"])]
    return "\n".join(out)


def _engine_facts() -> Any:
    """The engine's own statements; its module needs nothing of SecretFlow."""
    path = PROJECT / "federated" / "engine" / "creditlab_engine" / "facts.py"
    spec = importlib.util.spec_from_file_location("creditlab_engine_facts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- consent -----------------------------------------------------------------------------------------------------


def consent_fields() -> str:
    from consent.artefact import FIELDS

    out = ["| 字段 field | 含义 meaning | ISO/IEC TS 27560:2023 |", "|---|---|---|"]
    out += [f"| `{one.name}` | {one.zh}<br>{one.en} | {one.iso27560} |" for one in FIELDS]
    return "\n".join(out)


def consent_purposes() -> str:
    from consent.purposes import CATEGORIES, DEFINITIONS, MODE_DEFINITIONS, PERSONAL_CATEGORIES, PURPOSE_MODES

    out = ["| 用途 purpose | 定义 definition | 可含的使用方式 uses it may carry |", "|---|---|---|"]
    for purpose, (zh, en) in DEFINITIONS.items():
        uses = ", ".join(f"`{mode}`" for mode in PURPOSE_MODES[purpose])
        out.append(f"| `{purpose}` | {zh}<br>{en} | {uses} |")
    out += ["", "| 使用方式 use | 定义 definition |", "|---|---|"]
    out += [f"| `{mode}` | {zh}<br>{en} |" for mode, (zh, en) in MODE_DEFINITIONS.items()]
    out += ["", "| 类别 category | 名称 name | 须个人同意 person's consent |", "|---|---|---|"]
    for code, (zh, en) in CATEGORIES.items():
        out.append(f"| `{code}` | {zh} · {en} | {'yes' if code in PERSONAL_CATEGORIES else ''} |")
    return "\n".join(out)


def person_fields() -> str:
    from consent.person import FIELDS

    out = ["| 字段 field | 含义 meaning | ISO/IEC TS 27560:2023 |", "|---|---|---|"]
    return "\n".join([*out, *(f"| `{one.name}` | {one.zh}<br>{one.en} | {one.iso27560} |" for one in FIELDS)])


def consent_templates() -> str:
    from consent.templates import PUBLISHED

    columns = "| 时间范围 window, months | 保存 life, days | 有效期 validity, days | 次数 uses | 再提供 onward |"
    out = [f"| 用途 purpose {columns}", "|---|---|---|---|---|---|"]
    for purpose, one in PUBLISHED.items():
        limits = one.limits
        parts = [f"{limits['total']} in all"] if limits["total"] is not None else []
        if limits["count"] is not None:
            parts.append(f"{limits['count']} in {limits['period_days']} days")
        onward = "企业同意者 whom the enterprise agrees to" if "*" in one.onward else ", ".join(one.onward) or "–"
        out.append(
            f"| `{purpose}` | {one.window_months} | {one.life_days} | {one.validity_days} "
            f"| {'; '.join(parts) or '–'} | {onward} |"
        )
    return "\n".join(out)


def consent_transitions() -> str:
    from consent.lifecycle import FINAL, PERSON_ACTIONS, PERSON_EXPIRY, SIGNERS, TRANSITIONS, Action

    out = ["```mermaid", "stateDiagram-v2", "    [*] --> requested"]
    for state, moves in TRANSITIONS.items():
        out += [f"    {state} --> {after}: {action}" for action, after in moves.items()]
        out += [f"    {state} --> [*]"] if state in FINAL else []
    out += ["```", "", "| 动作 action | 签署者 signed by |", "|---|---|"]
    answers = {
        "grant": "企业（授权文件）enterprise, by the consent",
        "refuse": "企业（拒绝文件）enterprise, by the refusal",
    }
    answers["cancel"] = "机构，无文件 institution, no document"
    answers["supersede"] = "企业（续签的授权文件）enterprise, by the renewal"
    names = {"enterprise": "企业 enterprise", "platform": "平台 platform"}
    for action in dict.fromkeys(action for moves in TRANSITIONS.values() for action in moves):
        own = "".join(f"；本人 the person, by `{kind}`" for kind, does in PERSON_ACTIONS.items() if does == action)
        own += f"；个人同意 a person's, by `{PERSON_EXPIRY}`" if action == Action.EXPIRE else ""
        out.append(f"| `{action}` | {answers.get(action) or names[SIGNERS[action]]}{own} |")
    return "\n".join(out)


def policy_rules() -> str:
    """The decision table: one row per rule in the order of judging, one column per scope."""
    from consent.policy import RULES, SCOPES

    out = ["| # | 代码 code | 被拒绝的理由 denied because | " + " | ".join(f"`{one}`" for one in SCOPES) + " | 依据 |"]
    out.append("|---|---|---|" + "---|" * (len(SCOPES) + 1))
    for number, rule in enumerate(RULES, 1):
        marks = " | ".join("●" if scope in rule.scopes else "" for scope in SCOPES)
        words = "<br>".join(_placeholders(text) for text in (rule.message_zh, rule.message))
        out.append(f"| {number} | `{rule.code}` | {words} | {marks} | {rule.proves} |")
    return "\n".join(out)


def _placeholders(text: str) -> str:
    """`{f.fact!r}` as a reader sees it."""
    return re.sub(r"\{(?:f\.)?(\w+)(?:!r)?\}", r"‹\1›", text)


# ---- pages -------------------------------------------------------------------------------------------------------


def data_dictionary() -> str:
    """Every category, item and feature of the catalogue."""
    from features.catalogue import load
    from features.catalogue.dictionary import render

    return render(load())


def authority() -> str:
    """Who may do what: one row for each action."""
    from api.authority import as_markdown

    return as_markdown()


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "causes": ("operators.md", cause_table),
    "states": ("states.md", diagrams),
    "report-keys": ("report.md", report_keys),
    "reveals": ("auditors.md", reveals),
    "consent-fields": ("consent.md", consent_fields),
    "consent-purposes": ("consent.md", consent_purposes),
    "consent-templates": ("consent.md", consent_templates),
    "consent-transitions": ("consent.md", consent_transitions),
    "person-fields": ("consent.md", person_fields),
    "authority": ("authority.md", authority),
    "policy": ("consent.md", policy_rules),
    "catalogue": ("catalogue.md", data_dictionary),
}


def made(part: str) -> tuple[Path, str]:
    """The page of a part and the text it should have. Raises ValueError when its markers are missing."""
    name, make = PARTS[part]
    path = DOCS / name
    begin, end = f"<!-- generated {part}: begin -->", f"<!-- generated {part}: end -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{name} needs the lines {begin} and {end}")
    return path, f"{before}{begin}\n\n{make().strip()}\n\n{end}{after}"


def main() -> int:
    stale = []
    for part in PARTS:
        path, text = made(part)
        if path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    verb = "stale" if "--check" in sys.argv else "written"
    sys.stdout.write(f"{verb}: {', '.join(stale) or 'none'}\n")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
