"""Projects, templates, clones, comparisons, datasets and the model registry: the bank's way to a job (R43, R61)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.client import LabError
from api.jobs import shaping
from tests.api.world import Enterprise, World

REPORT = {
    "models": {"bank_only": {"auc": 0.68, "ks": 0.3}, "joint": {"auc": 0.75, "ks": 0.4}},
    "uplift": {"auc": 0.07, "verdict": "proven", "statement": "better", "statement_zh": "更好"},
    "egress": {"bank_to_lab_bytes": 10, "lab_to_bank_bytes": 20},
}


def refused(code: str, call: Callable[..., object], *arguments: object, **more: object) -> None:
    with pytest.raises(LabError) as caught:
        call(*arguments, **more)
    assert caught.value.code == code, caught.value
    assert any("\u4e00" <= c <= "\u9fff" for c in caught.value.message_zh)


# ---- projects


def test_two_sides_agree_before_a_project_is_active(world: World) -> None:
    """R61: joint modelling rests on an agreement of both parties, seen by the operator."""
    made = world.risk.propose_project(world.project_body("p-new"))
    assert (made["state"], made["bank"]) == ("proposed", "bank-a")
    assert world.owner.decide_project("p-new", "our data fit")["state"] == "proposed"
    refused("already_decided", world.owner.decide_project, "p-new", "again")
    active = world.operator.decide_project("p-new", "in order")
    assert active["state"] == "active"
    assert [one["capacity"] for one in active["decisions"]] == ["data_owner", "operator"]
    assert active["agreement"]["signed_on"] == "2026-01-05"


def test_a_rejection_ends_it(world: World) -> None:
    world.risk.propose_project(world.project_body("p-no"))
    assert world.owner.decide_project("p-no", "too broad", "reject")["state"] == "rejected"
    refused("already_decided", world.operator.decide_project, "p-no", "still")
    refused("project_not_active", world.risk.propose_job, world.proposal(project="p-no"))


def test_no_job_without_an_active_project_that_covers_it(world: World) -> None:
    refused("project_unknown", world.risk.propose_job, world.proposal(project="nowhere"))
    world.risk.propose_project(world.project_body("p-wait"))
    refused("project_not_active", world.risk.propose_job, world.proposal(project="p-wait"))
    world.project("p-zone", modes=["zone"], recipes=["logistic"])
    refused("outside_project", world.risk.propose_job, world.proposal(project="p-zone", mode="federated"))
    refused("outside_project", world.risk.propose_job, world.proposal(project="p-zone", mode="zone"))
    logistic = {"name": "logistic", "params": {}}
    assert world.risk.propose_job(world.proposal(project="p-zone", mode="zone", recipe=logistic))["state"] == "proposed"


def test_a_project_that_ended_meanwhile_starts_nothing(world: World) -> None:
    world.cohort()
    world.project("p-short")
    job_id = world.proposed(project="p-short")
    world.owner.approve_job(job_id, "fits")
    assert world.owner.end_project("p-short", "we changed our mind")["state"] == "closed"
    refused("project_not_active", world.operator.approve_job, job_id, "in order")
    assert world.operator.job(job_id)["ticket_sha256"] is None


def test_a_project_ends_with_its_term(world: World) -> None:
    world.project("p-term", valid_until=(world.clock() + timedelta(days=2)).isoformat())
    world.clock.advance(3 * 86400)
    refused("project_not_active", world.risk.propose_job, world.proposal(project="p-term"))


def test_another_bank_sees_none_of_it(world: World) -> None:
    world.operator.add_institution("bank-b", "Bank B", "bank")
    stranger = world.person("stranger", "bank-b", "risk")
    assert list(stranger.projects()) == []
    refused("not_found", stranger.project, "sme")
    refused("dataset_not_offered", stranger.propose_job, world.proposal())  # another bank's node is not told of
    assert {one["id"] for one in world.owner.projects()} == {"sme"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"lab": "nowhere"}, "lab_unknown"),
        ({"lab": "bank-a"}, "lab_unknown"),
        ({"valid_until": "2020-01-01T00:00:00Z"}, "already_over"),
        ({"agreement": {"title": "t", "sha256": "ab" * 32, "signed_on": "2999-01-01"}}, "not_signed_yet"),
        ({"purpose": "marketing"}, "invalid_request"),
        ({"id": "sme"}, "exists"),
    ],
)
def test_a_bad_project_is_refused_by_field(shared: World, changes: dict, code: str) -> None:
    """R50: no other purpose than financing can be agreed on."""
    refused(code, shared.risk.propose_project, {**shared.project_body("p-bad"), **changes})


def test_a_decision_on_an_older_version_is_refused(world: World) -> None:
    world.risk.propose_project(world.project_body("p-tag"))
    url = f"{world.url}/v1/projects/p-tag"
    owner = {"Authorization": f"Bearer {world.tokens['owner']}"}
    tag = httpx.get(url, headers=owner).headers["etag"]
    body = {"reason": "taken back"}
    risk = {"Authorization": f"Bearer {world.tokens['risk']}"}
    assert httpx.post(f"{url}/end", json=body, headers=risk | {"If-Match": tag}).status_code == 200
    late = httpx.post(f"{url}/end", json=body, headers=risk | {"If-Match": tag})
    assert (late.status_code, late.json()["code"]) == (412, "version_moved")


def test_lists_go_page_by_page(world: World) -> None:
    for i in range(5):
        world.risk.propose_project(world.project_body(f"p-{i}"))
    headers = {"Authorization": f"Bearer {world.tokens['risk']}"}
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = httpx.get(f"{world.url}/v1/projects", params=params, headers=headers).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["p-4", "p-3", "p-2", "p-1", "p-0", "sme"]
    bad = httpx.get(f"{world.url}/v1/projects", params={"cursor": "bm9wZQ"}, headers=headers)
    assert (bad.status_code, bad.json()["code"]) == (422, "bad_cursor")


# ---- templates, clones, comparisons


def test_a_template_fills_a_proposal_and_the_rest_is_added(world: World) -> None:
    template = {
        "id": "quick", "title": "Quick look", "title_zh": "快速评估",
        "proposal": {"mode": "zone", "recipe": {"name": "boosting", "params": {"rounds": 20}}, "lab": "lab"},
    }  # fmt: skip
    world.operator.add_template(template)
    assert [one["id"] for one in world.risk.templates()] == ["quick"]
    changes = {"project": "sme", "dataset": "sba", "bank": "bank-a", "recipe": {"params": {"max_depth": 3}}}
    job = world.risk.propose_from("quick", changes, "a first look")
    assert job["recipe"] == {"name": "boosting", "params": {"rounds": 20, "max_depth": 3}}
    refused("not_a_proposal", world.risk.propose_from, "quick", {"project": "sme"}, "too little")
    refused("field_unknown", world.risk.add_template, {**template, "id": "q2", "proposal": {"speed": 1}})
    assert world.operator.call("POST", "/v1/job-templates/quick/retire", json={"reason": "old"})["retired_at"]
    refused("not_found", world.risk.propose_from, "quick", changes, "too late")


def test_a_banks_template_is_its_own(world: World) -> None:
    world.operator.add_institution("bank-b", "Bank B", "bank")
    other = world.person("other", "bank-b", "risk")
    mine = {"id": "mine", "title": "Mine", "title_zh": "自有", "proposal": {"mode": "zone"}}
    world.risk.add_template(mine)
    assert other.templates() == []
    refused("not_found", other.propose_from, "mine", {}, "theirs")


def test_a_clone_is_the_old_proposal_with_changes(world: World) -> None:
    first = world.proposed()
    job = world.risk.clone_job(first, {"mode": "zone", "recipe": {"params": {"rounds": 5}}}, "cheaper")
    assert (job["mode"], job["recipe"]["params"], job["retry_of"]) == ("zone", {"rounds": 5}, None)
    found = world.risk.compare_jobs(first, job["id"])
    assert found["differences"] == {"/mode": ["federated", "zone"], "/recipe/params": [{}, None],
                                    "/recipe/params/rounds": [None, 5]}  # fmt: skip


def test_jobs_stand_side_by_side_with_their_measures(world: World) -> None:
    one = world.succeeded()
    two = world.proposed(mode="zone")
    found = world.risk.compare_jobs(one, two)
    assert [item["job"]["id"] for item in found["jobs"]] == [one, two]
    assert found["jobs"][1]["models"] == {}
    assert found["jobs"][0]["seconds"] is not None


def test_measures_and_gain_come_from_the_report() -> None:
    assert shaping.measures(REPORT)["joint"] == {"auc": 0.75, "ks": 0.4, "gini": None, "brier": None}
    gain = shaping.gain(REPORT)
    assert gain is not None
    assert (gain["auc"], gain["verdict"], gain["auc_over_stacked"]) == (0.07, "proven", None)
    assert shaping.measures(None) == {}


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the examples of RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_changes_are_a_merge_patch(target: object, patch: object, result: object) -> None:
    assert shaping.merge_patch(target, patch) == result


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), _JSON, max_size=4))
def test_a_proposal_does_not_differ_from_itself(proposal: dict) -> None:
    assert shaping.differences([proposal, proposal], frozenset()) == {}


# ---- datasets and models


def test_datasets_are_browsed_by_metadata_alone(world: World) -> None:
    world.operator.add_institution("bank-b", "Bank B", "bank")
    other = world.person("other", "bank-b", "risk")
    assert {one["node"] for one in world.risk.datasets()} == {"bank-node", "lab-node"}
    assert {one["node"] for one in other.datasets()} == {"lab-node"}  # another bank's tables are not told of
    found = world.risk.call("GET", "/v1/datasets/lab-node/sba")
    assert [one["name"] for one in found["fields"]] == ["age", "state"]
    with pytest.raises(Exception, match="not_found"):
        other.call("GET", "/v1/datasets/bank-node/sba")
    assert {one["name"] for one in other.features()} == {"age", "state"}
    assert [one["name"] for one in other.features(text="AGE")] == ["age"]


def test_the_registry_shows_what_became_of_each_model(world: World) -> None:
    job_id = world.succeeded()
    assert world.risk.model(job_id)["stage"] == "candidate"
    world.released(job_id)
    (line,) = world.risk.models("serving")
    assert (line["job_id"], line["release_id"] is not None) == (job_id, True)
    assert list(world.risk.models("candidate")) == []
    world.operator.add_institution("bank-b", "Bank B", "bank")
    other = world.person("other", "bank-b", "risk")
    assert list(other.models()) == []
    refused("not_found", other.model, job_id)


def test_a_batch_gives_each_enterprise_its_own_answer_and_record(world: World) -> None:
    """R46: one usage record for each enterprise that was scored, none for one that was refused."""
    job_id = world.succeeded()
    world.released(job_id)
    for name in ("E-one", "E-two"):
        world.gateway.import_consents([Enterprise(name).consent(f"c-{name}", purpose="underwriting_score")])

    def answer() -> None:
        for _ in range(2):
            world.bank.score_once()

    node = threading.Thread(target=answer)
    node.start()
    found = world.risk.score_batch(["E-one", "E-none", "E-two"], "portfolio", job_id=job_id)
    node.join(20)
    assert (found["scored"], found["refused"]) == (2, 1)
    assert [item["enterprise"] for item in found["items"]] == ["E-one", "E-none", "E-two"]
    assert found["items"][1]["refused"]["code"] == "no_consent"
    assert found["items"][1]["refused"]["detail_zh"]
    assert len(world.risk.usage("E-one")) == len(world.risk.usage("E-two")) == 1
    assert world.risk.usage("E-none") == []
    refused("invalid_request", world.risk.score_batch, ["E-one", "E-one"], "twice", job_id=job_id)


def test_a_world_of_two_labs_keeps_projects_apart(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.operator.add_institution("lab-b", "Another lab", "lab")
    stranger = world.person("owner-b", "lab-b", "data_owner")
    world.risk.propose_project(world.project_body("p-ours"))
    refused("not_found", stranger.decide_project, "p-ours", "ours too")
