"""Notices, policies, knowledge and questions: reviewed first, policies pushed once to whom they fit (R8, R18, R24)."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.applications.profiles import Profile
from api.client import LabClient
from api.db import SYSTEM
from api.financing import covering_industries, covering_regions
from api.publications.matching import fits
from api.publications.repository import Publication
from tests.api.financing import Firm, Refusal, firm, officer
from tests.api.test_jobs import refused
from tests.api.world import World


@pytest.fixture(scope="module")
def bank(shared: World) -> LabClient:
    return officer(shared)


@pytest.fixture(scope="module")
def second(shared: World) -> LabClient:
    """Another operator."""
    return shared.person("operator-2", "platform", "operator")


def body(kind: str = "policy", **changes: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "title": "贷款贴息通知",
        "text": "符合条件的企业可申请贴息",
        "source": "粤财金〔2026〕1号",
        **changes,
    }


def submitted(client: LabClient, **changes: Any) -> str:
    name = client.call("POST", "/v1/publications", json=body(**changes))["id"]
    client.call("POST", f"/v1/publications/{name}/submit", json={"reason": "请审核"})
    return name


def review(client: LabClient, name: str, decision: str = "publish") -> dict[str, Any]:
    return client.call("POST", f"/v1/publications/{name}/review", json={"decision": decision, "opinion": "合规"})


def published(client: LabClient, reviewer: LabClient, **changes: Any) -> dict[str, Any]:
    return review(reviewer, submitted(client, **changes))


def pushed(who: Firm) -> list[str]:
    return [p["id"] for p in who.call("GET", "/policies")["items"]]


@pytest.mark.parametrize("kind", ["notice", "policy", "knowledge", "faq"])
def test_nothing_is_seen_before_it_was_reviewed(shared: World, bank: LabClient, kind: str) -> None:
    """R8, R24, R28."""
    who = firm(shared)
    name = submitted(bank, kind=kind, modules=["green"])
    seen = lambda **more: {  # noqa: E731
        p["id"] for p in who.call("GET", "/publications", params={"kind": kind, "limit": 500, **more})["items"]
    }
    assert name not in seen()
    review(shared.operator, name, "return")
    bank.call("PUT", f"/v1/publications/{name}", json=body(kind, title="更正", modules=["green"]))
    bank.call("POST", f"/v1/publications/{name}/submit", json={"reason": "已更正"})
    assert name not in seen()
    review(shared.operator, name)
    assert name in seen()
    assert name in seen(module="green")  # R63
    assert name not in seen(module="agriculture")
    bank.call("POST", f"/v1/publications/{name}/withdraw", json={"reason": "已失效"})
    assert name not in seen()


def test_nobody_reviews_their_own_work(shared: World, second: LabClient) -> None:
    """R8: the platform's own notices too."""
    name = submitted(shared.operator, kind="notice")
    assert refused(review, shared.operator, name).code == "own_work"
    published_by_other = review(second, name)
    assert (published_by_other["state"], published_by_other["attested_name"]) == ("published", "operator")


def test_what_was_published_is_not_changed_and_another_bank_touches_nothing(shared: World, bank: LabClient) -> None:
    name = published(bank, shared.operator, kind="knowledge")["id"]
    assert refused(bank.call, "PUT", f"/v1/publications/{name}", json=body()).code == "not_editable"
    other = officer(shared, "bank-b")
    assert refused(other.call, "GET", f"/v1/publications/{name}").status == 404
    word = {"reason": "x"}
    assert refused(other.call, "POST", f"/v1/publications/{name}/withdraw", json=word).status == 404


def test_policy_finds_people_once_and_never_twice(shared: World, bank: LabClient) -> None:
    """R64: both ways round, a policy that comes later and a profile that comes later."""
    near, far = firm(shared), firm(shared)
    near.profile(region="440305", industry="C3922")
    far.profile(region="320500", industry="C3922")
    rule = {"regions": ["440000"], "industries": ["C39"], "sizes": ["small", "micro"], "age_min": 2}
    policy = published(bank, shared.operator, **rule)
    assert policy["pushed"] >= 1
    assert policy["id"] in pushed(near)
    assert policy["id"] not in pushed(far)
    late = firm(shared)
    late.profile(region="440100", industry="C3911", certifications=[])
    assert policy["id"] in pushed(late)
    late.profile(region="440200", industry="C3911")
    far.profile(region="440305")
    assert policy["id"] in pushed(far)
    for who in (near, far, late):
        mine = [row for row in notices(shared, who) if row == policy["id"]]
        assert len(mine) == 1
    bank.call("POST", f"/v1/publications/{policy['id']}/withdraw", json={"reason": "政策到期"})
    assert policy["id"] not in pushed(near)


def notices(world: World, who: Firm) -> list[str]:
    from api.consents.requests import notices as found

    with world.db.read(SYSTEM) as session:
        return [row.object_id for row in found(session, who.uscc, 0, 500) if row.kind == "policy"]


def test_only_a_policy_has_a_rule(bank: LabClient) -> None:
    error = refused(bank.call, "POST", "/v1/publications", json=body("notice", regions=["440000"]))
    assert error.code == "invalid_request"


regions = st.sampled_from(["440000", "440300", "440305", "320000", "320500"])
industries = st.sampled_from(["C", "C39", "C3922", "I", "I65"])
sizes = st.sampled_from(["large", "medium", "small", "micro"])
certifications = st.sampled_from(["high_tech", "specialized_new", "little_giant"])
some = lambda values: st.lists(values, max_size=2, unique=True)  # noqa: E731


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rule=st.fixed_dictionaries(
        {
            "regions": some(regions),
            "industries": some(industries),
            "sizes": some(sizes),
            "certifications": some(certifications),
            "age_min": st.none() | st.integers(0, 12),
            "age_max": st.none() | st.integers(0, 12),
        }
    ),
    profile=st.fixed_dictionaries(
        {
            "region": st.sampled_from(["440305", "440100", "320500"]),
            "industry": st.sampled_from(["C3922", "C13", "I65"]),
            "size": sizes,
            "certifications": some(certifications),
            "established_on": st.dates(date(2014, 1, 1), date(2026, 6, 1)),
        }
    ),
)
def test_the_rule_is_what_its_words_say(shared: World, rule: dict[str, Any], profile: dict[str, Any]) -> None:
    """The condition in SQL against the same rule in Python."""
    today = date(2026, 6, 1)
    born = profile["established_on"]
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    expected = (
        (not rule["regions"] or bool(set(rule["regions"]) & set(covering_regions(profile["region"]))))
        and (not rule["industries"] or bool(set(rule["industries"]) & set(covering_industries(profile["industry"]))))
        and (not rule["sizes"] or profile["size"] in rule["sizes"])
        and (not rule["certifications"] or bool(set(rule["certifications"]) & set(profile["certifications"])))
        and (rule["age_min"] is None or age >= rule["age_min"])
        and (rule["age_max"] is None or age <= rule["age_max"])
    )
    table = lambda cls, given: sa.select(  # noqa: E731
        *(sa.cast(value, cls.__table__.c[name].type).label(name) for name, value in given.items())
    ).cte(cls.__tablename__)
    one, other = table(Publication, rule), table(Profile, profile)
    condition = sa.select(sa.literal(1)).select_from(one.join(other, sa.text(str(compiled(fits(today))))))
    with shared.db.read(SYSTEM) as session:
        assert bool(session.execute(condition).all()) == expected


def compiled(condition: sa.ColumnElement[bool]) -> str:
    from sqlalchemy.dialects import postgresql

    return str(condition.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))


# ---- questions


def ask(who: Firm, **changes: Any) -> dict[str, Any]:
    given = {"title": "贴息如何申请", "text": "我公司符合哪些贴息条件？", "may_publish": True, **changes}
    return who.call("POST", "/questions", json=given)


def act(client: LabClient, question: dict[str, Any], what: str, **given: Any) -> dict[str, Any]:
    return client.call("POST", f"/v1/questions/{question['id']}/{what}", json=given)


def test_a_question_goes_to_an_expert_and_is_published_without_a_name(
    shared: World, bank: LabClient, second: LabClient
) -> None:
    """R28, R34."""
    who = firm(shared)
    question = ask(who)
    assert refused(act, bank, question, "answer", answer="x").status == 404
    act(shared.operator, question, "assign", institution="bank-a", reason="属信贷问题")
    assert refused(act, shared.operator, question, "answer", answer="x").status == 404
    assert question["id"] in {q["id"] for q in bank.call("GET", "/v1/questions")["items"]}
    answered = act(bank, question, "answer", answer="按指南第三条申请")
    assert (answered["state"], answered["answered_name"]) == ("answered", "officer-bank-a")
    assert "question_answered" in who.notices()
    act(second, question, "close", publish=True, reason="具有普遍性")
    shown = next(a for a in firm(shared).call("GET", "/answers")["items"] if a["id"] == question["id"])
    assert shown["answer"] == "按指南第三条申请"
    assert who.uscc not in str(shown)


def test_without_the_enterprises_leave_an_answer_stays_its_own(shared: World, second: LabClient) -> None:
    """R28."""
    who = firm(shared)
    question = ask(who, may_publish=False)
    act(shared.operator, question, "answer", answer="已答复")
    assert refused(act, second, question, "close", publish=True, reason="x").code == "publication_not_allowed"
    assert act(second, question, "close", publish=False, reason="仅答复本企业")["state"] == "kept"
    mine = who.call("GET", "/questions")["items"]
    assert [(q["state"], q["answer"]) for q in mine] == [("kept", "已答复")]


def test_who_answered_does_not_publish_it(shared: World) -> None:
    """R24."""
    question = ask(firm(shared))
    act(shared.operator, question, "answer", answer="已答复")
    assert refused(act, shared.operator, question, "close", publish=True, reason="x").code == "own_work"


def test_the_clock_of_a_question_goes_on_with_whoever_has_it(shared: World, bank: LabClient) -> None:
    """R34."""
    question = ask(firm(shared))
    of = lambda client: [  # noqa: E731
        c for c in client.call("GET", "/v1/clocks", params={"limit": 500})["items"] if c["object_id"] == question["id"]
    ]
    at_desk = of(shared.operator)[0]
    assert (at_desk["kind"], at_desk["holder"]) == ("question", "platform")
    act(shared.operator, question, "assign", institution="bank-a", reason="x")
    with_expert = of(bank)[0]
    assert (with_expert["holder"], with_expert["due_at"]) == ("bank-a", at_desk["due_at"])
    act(bank, question, "answer", answer="好")
    assert of(bank) == []


def test_a_question_can_be_taken_back_by_its_enterprise_only(shared: World) -> None:
    who = firm(shared)
    question = ask(who)
    with pytest.raises(Refusal) as caught:
        firm(shared).call("POST", f"/questions/{question['id']}/withdraw", json={"reason": "x"})
    assert caught.value.status == 404
    back = who.call("POST", f"/questions/{question['id']}/withdraw", json={"reason": "已解决"})
    assert back["state"] == "withdrawn"
