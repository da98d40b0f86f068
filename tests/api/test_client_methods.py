"""`LabClient` has a method for whatever a program of a bank, a lab or the operator calls; each does what it says."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from api import client as package
from api.auth import Action, actions_by_route
from api.client import LabClient
from tests.api.financing import Loan, firm, officer, shelved, today
from tests.api.test_data import RECORDS, REPORT, consent, told
from tests.api.test_jobs import refused
from tests.api.test_permissions import APP
from tests.api.world import World, admin_of

# what no program calls with an account's token, and why
NOT_FOR_PROGRAMS = {
    "/v1/node/": "a node's own protocol (enclave.control)",
    "/v1/nodes/self": "the same",
    "/v1/feed": "the same",
    "/v1/my/": "an enterprise's session",
    "/v1/staff/": "a person signs in and out, and sets up the own second factor",
    "/v1/enterprises/registrations": "an enterprise, without an account",
    "/v1/usage/questions": "a document that the enterprise signs",
    "/v1/ledger/witness": "a witness's own program (creditlab witness)",
    "/v1/ledger/cosigned": "the same",
}


def _called() -> set[str]:
    """The addresses that the client's modules spell out, with {} for what is filled in."""
    found = set()
    for path in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values]
                found.add("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return {address for address in found if address.startswith("/v1/")}


def _fits(route: str, address: str) -> bool:
    """Whether an address with {} for what is filled in is one of the route's."""
    there, here = route.split("/"), address.split("/")
    return len(there) == len(here) and all(a == b or b == "{}" for a, b in zip(there, here, strict=True))


def test_every_route_for_programs_has_a_method() -> None:
    called = _called()
    missing = [
        path
        for (_, path), action in sorted(actions_by_route(APP).items())
        if path.startswith("/v1/")
        and not any(path.startswith(prefix) for prefix in NOT_FOR_PROGRAMS)
        and (action is not Action.PUBLIC or path == "/v1/keyring")
        and not any(_fits(path, address) for address in called)
    ]
    assert missing == []


# ---- data of one enterprise


@pytest.fixture(scope="module")
def consenting(shared: World) -> str:
    consent(shared, "E-client")
    return "E-client"


def test_an_enterprises_data_come_in_three_ways_and_with_evidence(shared: World, consenting: str) -> None:
    """R43, R46, R60."""
    about = {"provider": "lab"}

    def asked(call: Callable[[], Any], **result: Any) -> tuple[Any, dict[str, Any]]:
        return told(shared, call, result=result)

    risk = shared.risk
    found, item = asked(
        lambda: risk.query_data(consenting, "tax", "贷前调查", items=["arrears"], window_months=12, **about),
        records=RECORDS,
    )
    assert (found["records"], item["permit"]["body"]["data"]) == (RECORDS, {"tax": ["arrears"]})
    found, item = asked(
        lambda: risk.verify_data(consenting, "tax", "核验", stated={"grade": "A"}, **about), answer="yes"
    )
    assert (found["answer"], item["request"]["stated"]) == ("yes", {"grade": "A"})
    found, _ = asked(lambda: risk.credit_report(consenting, "贷前调查", **about), report=REPORT)
    assert found["report"] == REPORT
    raw, item = asked(
        lambda: risk.credit_report_pdf(consenting, "贷前调查", categories=["tax"], **about), pdf="JVBERi0="
    )
    assert (raw, item["permit"]["body"]["form"]) == (b"%PDF-", "pdf")

    assert "贷前调查" in json.dumps(risk.usage_record(found["usage_id"]), ensure_ascii=False)
    (receipt, *_) = risk.receipts(f"c-{consenting}")
    file = risk.receipt_file(f"c-{consenting}", receipt["seq"])  # made anew, at its own second
    assert file["receipt"].keys() == receipt["receipt"].keys()
    counts = risk.consent_request_counts()
    assert counts["items"] == []
    assert refused(risk.consent_request, "c-none").status == 404
    assert refused(risk.credit_report, "E-none", "贷前调查", **about).code == "no_consent"


# ---- enterprises


def test_an_enterprise_is_put_on_record_certified_and_corrected(shared: World) -> None:
    """R12, R13, R19."""
    desk, risk = shared.operator, shared.risk
    who = firm(shared)
    new = desk.add_enterprise({"uscc": "91110108MA00DEM06X", "name": "某某科技", "contact_name": "张", "contact": "0"})
    assert new["code"]
    assert {"91110108MA00DEM06X", who.uscc} <= {one["uscc"] for one in desk.enterprises()}
    person = desk.enterprise(who.uscc)["people"][0]["id"]
    assert desk.enterprise_code(who.uscc, person, "recover", "设备遗失")["code"]
    named = desk.name_consenting_person(who.uscc, "legal_representative", name="李代表")
    assert [one["id"] for one in desk.consenting_persons(who.uscc)] == [named["id"]]
    desk.retire_consenting_person(who.uscc, named["id"], "已更换")
    assert desk.consenting_persons(who.uscc) == []

    assert risk.certify_enterprise(who.uscc, date(2026, 3, 3), "住所一致")["state"] == "standing"
    assert [one["institution"] for one in risk.certifications(who.uscc)] == ["bank-a"]
    assert desk.revoke_certification(who.uscc, "bank-a", "虚假认证")["state"] == "revoked"
    asked = risk.prompt_correction(who.uscc, "注册地址", "已搬迁")
    assert asked["id"] in [one["id"] for one in risk.corrections()]
    assert risk.corrections(overdue=True) == []
    assert desk.answer_correction(asked["id"], "已更正")["state"] == "corrected"
    assert risk.follow_up_correction(asked["id"], "closed", "已核实")["state"] == "closed"
    assert desk.set_enterprise_state(who.uscc, "suspended", "执照吊销")["state"] == "suspended"
    assert refused(desk.verify_enterprise, who.uscc, "x").code == "illegal_transition"
    assert refused(desk.reject_enterprise, who.uscc, "x").code == "illegal_transition"


def test_a_dispute_is_opened_answered_and_settled(shared: World) -> None:
    desk = shared.operator
    about = {"kind": "dispute", "enterprise": "E-client", "text": "等级有误"}
    row = desk.open_dispute(about)
    assert [one["id"] for one in desk.disputes("E-client", "open")] == [row["id"]]
    assert desk.disputes(overdue=True) == []
    assert desk.answer_dispute(row["id"], "已更正")["state"] == "answered"
    assert desk.dispute_step(row["id"], "reopen", "仍有误")["state"] == "open"
    assert desk.dispute_step(row["id"], "withdraw", "不再需要")["state"] == "withdrawn"
    assert desk.dispute(row["id"])["ended_at"]


# ---- institutions and accounts


def test_an_institution_is_prepared_admitted_sanctioned_and_its_people_too(shared: World) -> None:
    """R1, R2, R17, R32, R52."""
    desk, day = shared.operator, date(2026, 1, 5)
    LabClient.add_institution(desk, "bank-i", "Bank I", "bank")  # without papers, as a program may
    states = lambda: {one["institution"]: one["state"] for one in desk.onboardings()}  # noqa: E731
    assert states()["bank-i"] == "preparing"
    desk.record_agreement("bank-i", "XY-1", day)
    assert desk.record_assessment("bank-i", "PG-1", "某测评中心", day)["state"] == "active"
    assert desk.rectify("bank-i", "检查发现弱口令")["state"] != "active"
    desk.record_assessment("bank-i", "PG-2", "某测评中心", day)

    people = (admin_of("a.i", "李甲", "13800000011"), admin_of("b.i", "赵乙", "13800000012"))
    form = {
        "kind": "open", "institution": "bank-i", "institution_name": "某银行", "bank_code": "102100099996",
        "dated": str(today(shared)), "effective_on": str(today(shared)), "admin_a": people[0], "admin_b": people[1],
        "network_contact": {"name": "王网管", "contact": "010-88886666"}, "pledge": True,
    }  # fmt: skip
    first = desk.apply_for_admins(form)
    assert desk.decide_admission(first["id"], "return", "缺盖章")["state"] == "returned"
    taken = desk.apply_for_admins(form)
    assert desk.withdraw_admission(taken["id"])["state"] == "withdrawn"
    good = desk.apply_for_admins(form)
    desk.decide_admission(good["id"], "approve", "齐全")
    assert all(one["code"] for one in desk.carry_out_admission(good["id"])["people"])
    assert good["id"] in [one["id"] for one in desk.admissions("carried_out")]

    account = desk.add_account("risk-i", "bank-i", ["risk"])["account_id"]
    assert account in [one["id"] for one in desk.accounts()]
    held = desk.sanction_account(account, "越权查询", evidence="函〔2026〕2号")
    assert [one["id"] for one in desk.account_sanctions(account)] == [held["id"]]
    assert desk.lift_account_sanction(held["id"], "已整改")["state"] == "lifted"
    admin = shared.admin("c.i", "bank-a").client
    mine = desk.add_account("risk-j", "bank-a", ["risk"])["account_id"]
    admin.set_duties(mine, ["query:job"], "仅查询")
    assert [one["duties"] for one in admin.accounts() if one["id"] == mine] == [["query:job"]]
    admin.cancel_account(mine, "停用")
    assert [one["disabled_at"] is None for one in admin.accounts() if one["id"] == mine] == [False]
    assert refused(admin.reset_person, mine, "遗忘").status in (404, 409)
    assert any(row["action"] == "incident.report" for row in admin.authority())

    assert desk.sanction("bank-i", "suspend", "虚假认证", evidence="函〔2026〕1号")["state"] == "suspended"
    assert [one["state"] for one in desk.standings() if one["institution"] == "bank-i"] == ["suspended"]
    assert desk.sanction("bank-i", "reinstate", "已整改")["state"] == "active"


def test_webhooks_are_added_read_and_removed(shared: World) -> None:
    desk = shared.operator
    made = desk.add_webhook("bank-a", "https://bank.example/hook")
    assert made["secret"]
    assert made["id"] in [one["id"] for one in desk.webhooks()]
    assert desk.dead_letters(made["id"]) == []
    assert desk.remove_webhook(made["id"], "更换系统")["state"] == "removed"


# ---- what is left of modelling, financing and the ledger


@pytest.fixture(scope="module")
def released(shared: World) -> str:
    shared.cohort()
    return shared.released(shared.succeeded())


def test_a_release_is_watched_and_recalled(shared: World, released: str) -> None:
    desk, bank = shared.operator, shared.risk
    assert bank.release_consents(released)["state"] == "released"
    answer = shared.bank.http.post(f"/v1/node/releases/{released}/share", json={"share": 0.02, "seq": 1})
    answer.raise_for_status()
    (notice,) = bank.retraining_notices("open")
    assert bank.close_retraining_notice(notice["id"], "撤回比例低，下次例行重训")["state"] == "closed"
    assert desk.recall_release(released, "业务停办")["state"] == "recalled"
    assert refused(desk.impact, "c-none").status == 404


def test_datasets_and_templates(shared: World) -> None:
    assert shared.risk.dataset("lab-node", "sba")["fields"]
    proposal = {"mode": "federated", "recipe": {"name": "boosting", "params": {}}}
    made = shared.risk.add_template({"id": "weekly", "title": "Weekly", "title_zh": "每周", "proposal": proposal})
    assert shared.risk.retire_template(made["id"], "不再使用")["retired_at"]


def test_a_credits_dispute_goes_to_a_mediator(shared: World) -> None:
    bank, who = officer(shared), firm(shared)
    loan = Loan(shared, bank, who, shelved(shared, bank))
    credit = loan.lent()
    asked = bank.propose_mediation(credit, "金融纠纷调解中心", "对利率有异议")
    who.call("POST", f"/mediations/{asked['id']}/answer", json={"agree": True, "answer": "同意"})
    assert bank.end_mediation(asked["id"], True, "达成一致")["state"] == "settled"
    assert [one["id"] for one in bank.mediations(credit)] == [asked["id"]]
    other = who.call("POST", f"/credits/{credit}/mediations", json={"mediator": "调解中心", "reason": "再议"})
    assert bank.answer_mediation(other["id"], False, "已了结")["state"] == "refused"


def test_code_lists_periods_and_one_publication(shared: World) -> None:
    bank = officer(shared)
    assert {one["code"] for one in bank.product_codes()["refused"]} >= {"wealth"}
    assert {one["kind"]: one["length"] for one in bank.periods()}["accept"] == 5
    draft = bank.publish({"kind": "faq", "title": "如何申请", "text": "在线提交"})
    assert bank.publication(draft["id"])["title"] == "如何申请"


def test_the_ledger_is_read(shared: World, released: str) -> None:
    shared.clock.advance(timedelta(seconds=2).total_seconds())
    risk = shared.risk
    assert risk.keyring()[0]["signatures"]
    assert risk.log()
    assert isinstance(risk.heads(), list)
    assert risk.ledger_entries(0, 10)
    assert refused(risk.ledger_proof, 10**9).status in (404, 409, 422)
    newest = risk.newest_head()
    assert newest
    assert refused(risk.consistency, 5, 1).status in (404, 409, 422)
