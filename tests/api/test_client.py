"""`LabClient`: what a bank's or an operator's program does with it, the shapes it promises, and how it fails."""

from __future__ import annotations

import re
import typing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.client import BadProfile, LabClient, LabError, answers, connection
from api.reports import service as reports
from tests.api.financing import Firm, firm, officer, product_body, today
from tests.api.test_jobs import refused
from tests.api.world import World, any_ca

SHAPES = {n: v for n, v in vars(answers).items() if typing.is_typeddict(v)}


@pytest.fixture(scope="module")
def bank(shared: World) -> LabClient:
    return officer(shared)


@pytest.fixture(scope="module")
def who(shared: World) -> Firm:
    return firm(shared)


# ---- the shapes


def _told(schema: dict[str, Any]) -> str:
    """How a schema's value arrives: the kinds of JSON that it may be."""
    if "$ref" in schema:
        return "any"
    if "anyOf" in schema:
        return " ".join(sorted({_told(one) for one in schema["anyOf"]}))
    kinds = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list"}
    kind = "str" if "enum" in schema or "const" in schema else schema.get("type", "any")
    return kinds.get(kind, "none" if kind == "null" else "any")


def _promised(hint: Any) -> str:
    parts = typing.get_args(hint) if not isinstance(hint, type) and typing.get_origin(hint) not in (list, dict) else ()
    if parts:
        return " ".join(sorted({_promised(part) for part in parts}))
    if hint is type(None):
        return "none"
    if typing.get_origin(hint) is list:
        return "list"
    return hint.__name__ if hint in (str, int, float, bool) else "any"


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_what_the_document_says(shared: World, name: str) -> None:
    schemas = shared.app.openapi()["components"]["schemas"]
    named = answers.NAMED.get(name, name)
    hints = typing.get_type_hints(SHAPES[name])
    # two shapes of one name are told apart by their modules in the document
    found = [schema for known, schema in schemas.items() if known == named or known.endswith(f"__{named}")]
    (schema, *_) = [one for one in found if one["properties"].keys() == hints.keys()] or [{"properties": {}}]
    assert hints.keys() == schema["properties"].keys()
    for field, hint in hints.items():
        told, promised = _told(schema["properties"][field]), _promised(hint)
        # a named list of words is a text here, and a named object a shape or a dict
        assert told == promised or "any" in told.split(), field


def test_the_methods_that_the_api_page_names_are_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    rows = page.split("方法 · Methods |", 1)[1].split("\n\n", 1)[0]
    named = re.findall(r"`(\w+)`", rows)
    assert len(named) > 40
    assert [name for name in named if not callable(getattr(LabClient, name, None))] == []


# ---- a bank's and the platform's work


def test_an_officer_and_the_operator_take_a_loan_from_product_to_repayment(
    shared: World, bank: LabClient, who: Firm
) -> None:
    """R7-R12, R25: the financing workflow in the words of the client."""
    desk, day = shared.operator, today(shared)
    product = bank.add_product(product_body())
    changed = bank.change_product(product["id"], product_body(name="科创快贷"), product["version"])
    assert (changed["name"], changed["version"]) == ("科创快贷", product["version"] + 1)
    stale = refused(bank.change_product, product["id"], product_body(), product["version"])
    assert (stale.status, stale.code) == (412, "version_moved")
    assert bank.product_step(product["id"], "submit", "请审核")["state"] == "submitted"
    assert [p["id"] for p in desk.products("submitted")] == [product["id"]]
    assert desk.review_product(product["id"], "合规")["state"] == "approved"
    assert bank.product_step(product["id"], "list", "上架")["state"] == "on_shelf"

    name = who.submitted(product["id"])
    assert name in [a["id"] for a in desk.applications()]
    assert desk.application(name)["missing"] == []
    assert desk.review_application(name, "材料齐全")["state"] == "pushed"
    (line,) = [r for r in bank.referrals("received") if r["application"] == name]
    clocks = [c for c in bank.clocks() if c["object_id"] == line["id"]]
    assert [c["kind"] for c in clocks] == ["accept"]
    assert bank.accept_referral(line["id"], "陈静", "020-0000000")["state"] == "accepted"
    bank.write_message(line["id"], "请补充近期订单")
    assert [m["text"] for m in bank.messages(line["id"])] == ["请补充近期订单"]
    assert bank.follow_up(line["id"], day, "实地走访")["state"] == "followed_up"
    assert len(bank.note_progress(line["id"], day, "补充材料")["progress"]) == 3
    assert bank.approve_referral(line["id"], day, "2000000", "审批通过")["approved_amount"] == "2000000.00"
    contract = {
        "amount": "2000000",
        "rate": "4.35",
        "term_months": 12,
        "contract_no": "HT-C-1",
        "signed_on": day.isoformat(),
        "begins_on": day.isoformat(),
        "ends_on": (day + timedelta(days=365)).isoformat(),
        "guarantee": "credit",
    }
    credit = bank.report_result(line["id"], contract)["id"]
    assert bank.guarantees_of(line["id"]) == []
    assert bank.report_disbursement(credit, "JJ-1", "500000", day)["disbursed"] == "500000.00"
    again = bank.report_disbursement(credit, "JJ-1", "500000", day)
    assert len(again["disbursements"]) == 1
    told = {"as_of": day.isoformat(), "status": "normal", "classification": "normal", "outstanding": "500000"}
    assert bank.report_status(credit, {**told, "note": "正常"})["state"] == "normal"
    assert [c["id"] for c in bank.credits()] == [credit]
    assert bank.credit(credit)["reports"][0]["note"] == "正常"
    assert list(bank.credit_warnings()) == []

    (group,) = bank.statistics("during", "institution")["groups"]
    assert group["keys"] == {"institution": "bank-a"}
    assert "bank-a" in bank.statistics_csv("during", "institution")


def test_refusals_and_open_needs(shared: World, bank: LabClient, who: Firm) -> None:
    name = who.submitted(None, open_to_all=True)
    shared.operator.review_application(name, "材料齐全", institutions=["bank-a"])
    (line,) = [r for r in bank.referrals() if r["application"] == name]
    assert bank.refuse_referral(line["id"], "不符合条件")["state"] == "refused"
    other = officer(shared, "bank-n")
    assert name in [need["id"] for need in other.needs()]
    asked = other.ask_for(name)
    assert asked["origin"] == "asked"
    other.accept_referral(asked["id"], "陈静", "020-0000000")
    other.follow_up(asked["id"], today(shared), "实地走访")
    assert other.decline_referral(asked["id"], today(shared), "现金流不足")["state"] == "declined"


def test_publications_and_questions(shared: World, bank: LabClient, who: Firm) -> None:
    """R24."""
    draft = bank.publish({"kind": "faq", "title": "如何申请", "text": "在线提交"})
    changed = bank.change_publication(draft["id"], {"kind": "faq", "title": "如何办理", "text": "在线提交"}, 1)
    assert changed["title"] == "如何办理"
    bank.submit_publication(draft["id"], "请审核")
    assert draft["id"] in [p["id"] for p in shared.operator.publications("submitted")]
    assert shared.operator.review_publication(draft["id"], "合规")["state"] == "published"
    assert bank.withdraw_publication(draft["id"], "已更新")["state"] == "withdrawn"

    asked = who.call("POST", "/questions", json={"title": "贴息", "text": "如何申请贴息？", "may_publish": True})
    shared.operator.assign_question(asked["id"], "bank-a", "请答复")
    assert [q["id"] for q in bank.questions()] == [asked["id"]]
    assert bank.answer_question(asked["id"], "向所在地申请")["state"] == "answered"
    assert shared.operator.close_question(asked["id"], True, "可供参考")["state"] == "published"


def test_guarantors(shared: World, bank: LabClient, who: Firm) -> None:
    keeper = officer(shared, "guarantor-c")
    name = who.submitted(None)
    body = {"guarantor": "guarantor-c", "amount": "1000000", "note": "请担保"}
    asked = who.call("POST", f"/applications/{name}/guarantees", json=body)["id"]
    assert [g["id"] for g in keeper.guarantees("invited")] == [asked]
    assert keeper.guarantee(asked)["loan_amount"] == "2000000.00"
    assert keeper.answer_guarantee(asked, "同意担保")["state"] == "accepted"


def test_the_operators_day(shared: World) -> None:
    """R57: deadlines, reports, the trail and people."""
    desk = shared.operator
    assert desk.overdue() == []
    assert list(desk.clocks(overdue=True)) == []
    reports.make_part(shared.control, shared.clock(), "platform")
    (line,) = desk.period_reports()
    report = desk.period_report(line["month"], line["audience"])
    assert report["sha256"] == line["sha256"]
    assert desk.period_report_csv(line["month"], "platform").startswith("\ufeffsection,subject")
    trail = desk.audit_export(object_kind="project")
    assert trail == desk.audit("project")
    assert trail[0]["reason"]
    assert refused(desk.run_flow, "monthly-report", "月报").status in (404, 503)


def test_people_sessions_and_tokens(shared: World) -> None:
    """R3, R6."""
    shared.operator.add_institution("bank-s", "Bank S", "bank")
    admin = shared.admin("admin.s", "bank-s").client
    assert {p["level"] for p in admin.people()} == {"admin"}
    assert [s["login"] for s in admin.sessions()] == ["admin.s"]
    account = shared.operator.add_account("risk-s", "bank-s", ["risk"])
    new = admin.rotate_token(account["account_id"], "例行更换", keep_hours=1)
    assert {t["id"] for t in admin.tokens(account["account_id"])} >= {new["id"]}
    shared.tokens["risk-s"] = new["token"]
    client = shared.client("risk-s")
    assert client.whoami()["institution"] == "bank-s"
    admin.end_token(account["account_id"], new["id"], "不再使用")
    assert refused(client.whoami).status == 401
    person = {"login": "zhou.risk", "name": "周丁", "contact": "13900000002", "post": "风险部 经理", "roles": ["risk"]}
    leaver = admin.add_person(person)["account_id"]
    admin.person_left(leaver, today(shared), "离职")
    assert [p["left_on"] for p in admin.people() if p["account_id"] == leaver] == [str(today(shared))]
    mine = admin.sessions()[0]["id"]
    admin.end_session(mine, "下班")
    assert refused(admin.whoami).status == 401


# ---- how it fails


def test_an_error_speaks_the_clients_language_and_carries_the_whole_problem(shared: World) -> None:
    with LabClient(shared.url, any_ca(), shared.tokens["risk"], language="zh") as client:
        found = refused(client.job, "j-000000000000")
    assert found.message == found.message_zh
    assert found.message != refused(shared.risk.job, "j-000000000000").message
    assert found.problem["type"] == "urn:creditlab:problem:not_found"
    assert found.problem["instance"] == "/v1/jobs/j-000000000000"
    wrong = refused(shared.risk.propose_job, {})
    assert {error["pointer"] for error in wrong.problem["errors"]} >= {"/body/dataset"}


def test_a_language_that_is_not_spoken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match=r"language 'fr' is not spoken: en, zh"):
        LabClient("https://localhost", any_ca(), "t", language="fr")  # type: ignore[arg-type]
    (tmp_path / "token").write_text("t\n")
    profile = tmp_path / "profile.toml"
    profile.write_text(f'url = "https://localhost"\nca = "{any_ca()}"\ntoken_file = "token"\nlanguage = "de"\n')
    with pytest.raises(BadProfile, match="'de'") as told:
        LabClient.from_settings({}, profile)
    assert "不支持语言" in told.value.message_zh
    settings = {"CREDITLAB_URL": "https://localhost", "CREDITLAB_CA": str(any_ca()), "CREDITLAB_TOKEN": "t"}
    with pytest.raises(BadProfile, match="'it'"):
        LabClient.from_settings({**settings, "CREDITLAB_LANGUAGE": "it"})
    LabClient.from_settings(settings).close()


class Wire(httpx.BaseTransport):
    """Loses the first answers, then answers."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.seen = list(answers), []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((request.method, request.headers.get("idempotency-key")))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def over(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> LabClient:
    monkeypatch.setattr(connection.time, "sleep", lambda _seconds: None)
    client = LabClient("http://localhost", any_ca(), "t")
    client._http.close()
    client._http = httpx.Client(base_url="http://localhost", transport=wire)
    return client


def test_a_write_whose_answer_was_lost_is_sent_again_under_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(httpx.ReadError("reset"), httpx.Response(503, json={}), httpx.Response(200, json={"id": "x"}))
    assert over(wire, monkeypatch).change_product("x", {}) == {"id": "x"}
    assert [method for method, _ in wire.seen] == ["PUT"] * 3
    assert len({key for _, key in wire.seen}) == 1
    assert wire.seen[0][1]


def test_a_refusal_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = {"code": "conflict", "detail": "no", "detail_zh": "否"}
    wire = Wire(httpx.Response(409, json=problem))
    assert refused(over(wire, monkeypatch).cancel_job, "x", "y").problem == problem
    assert len(wire.seen) == 1


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"code": "x"}', b""])
def test_an_answer_that_is_no_problem_document_is_named_as_such(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    found = refused(over(Wire(httpx.Response(502, content=content)), monkeypatch).whoami)
    assert (found.code, found.status, found.problem) == ("unexpected_answer", 502, {})
    assert isinstance(found, LabError)
