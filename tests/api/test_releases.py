"""Release: blind reviews by two who are not the author, the operator's approval, the nodes' word."""

from __future__ import annotations

import pytest

from api.client import LabError
from consent.ticket import check_release_order
from consent.times import stamp
from tests.api.test_jobs import refused
from tests.api.world import SHA, World


def test_two_reviews_an_approval_and_both_nodes_make_it_released(world: World) -> None:
    job_id = world.succeeded()
    release = world.risk.request_release(job_id, "for underwriting")
    assert (release["state"], release["sha256"]) == ("submitted", SHA)
    release_id = release["id"]
    assert world.reviewers[0].review_release(release_id, "approve", "sound")["state"] == "partially_reviewed"
    assert refused(world.operator.approve_release, release_id, "hurry").code == "illegal_transition"
    assert world.reviewers[1].review_release(release_id, "approve", "stable")["state"] == "reviewed"
    assert world.operator.approve_release(release_id, "in order")["state"] == "approved"

    for node in (world.bank, world.lab):
        order = check_release_order(node.wait_for("release")["order"], world.key.public, stamp(world.clock()))
        assert (order["release_id"], order["sha256"], len(order["reviewers"])) == (release_id, SHA, 2)
    assert world.bank.release(release_id).json()["state"] == "approved"
    assert world.bank.work() == []
    assert world.lab.release(release_id).json()["state"] == "released"

    assert world.risk.release(release_id)["state"] == "released"
    block = world.risk.report(job_id)["release"]
    assert (block["state"], block["sha256"]) == ("released", SHA)
    assert block["reviewers"] == ["reviewer1", "reviewer2"]


def test_nobody_sees_a_review_before_both_are_in(world: World) -> None:
    job_id = world.succeeded()
    release_id = world.risk.request_release(job_id, "for underwriting")["id"]
    own = world.reviewers[0].review_release(release_id, "reject", "overfitted: a secret until both are in")
    assert len(own["reviews"]) == 1
    for reader in (world.reviewers[1], world.reviewers[2], world.risk, world.owner, world.operator):
        seen = reader.release(release_id)
        assert (seen["state"], seen["reviews"]) == ("partially_reviewed", [])
    assert world.risk.report(job_id)["release"]["reviewers"] == []
    trail = str(world.operator.audit("release", release_id) + world.operator.audit("release_review"))
    assert "secret" not in trail
    assert "reject" not in trail
    final = world.reviewers[1].review_release(release_id, "approve", "fine")
    assert final["state"] == "rejected"
    assert len(final["reviews"]) == 2
    assert "overfitted" in final["cause"]["message"]


def test_author_requester_and_the_same_reviewer_twice_are_refused(world: World) -> None:
    author = world.person("author", "bank-a", "risk", "reviewer")
    colleague = world.person("colleague", "bank-a", "risk", "reviewer")
    world.cohort()
    job_id = author.propose_job(world.proposal())["id"]
    world.owner.approve_job(job_id, "fits")
    world.operator.approve_job(job_id, "in order")
    for node in (world.bank, world.lab):
        node.state(job_id, "running")
    world.lab.report(job_id)
    for node in (world.bank, world.lab):
        node.state(job_id, "succeeded")
    release_id = colleague.request_release(job_id, "for underwriting")["id"]
    assert refused(author.review_release, release_id, "approve", "mine").code == "not_a_reviewer"
    assert refused(colleague.review_release, release_id, "approve", "mine").code == "not_a_reviewer"
    world.reviewers[0].review_release(release_id, "approve", "sound")
    assert refused(world.reviewers[0].review_release, release_id, "approve", "again").code == "already_reviewed"
    world.reviewers[1].review_release(release_id, "approve", "sound")
    assert refused(world.reviewers[2].review_release, release_id, "approve", "late").code == "illegal_transition"


def test_a_reviewer_of_another_bank_does_not_see_it(world: World) -> None:
    world.operator.add_institution("bank-b", "Bank B", "bank")
    outsider = world.person("outsider", "bank-b", "reviewer")
    job_id = world.succeeded()
    release_id = world.risk.request_release(job_id, "for underwriting")["id"]
    assert refused(outsider.release, release_id).status == 404
    assert refused(outsider.review_release, release_id, "approve", "hello").status == 404
    assert refused(outsider.report, job_id).status == 404
    assert outsider.releases() == []


@pytest.mark.parametrize("stage", ["submitted", "reviewed", "approved"])
def test_the_data_owner_can_veto_until_it_is_out(world: World, stage: str) -> None:
    job_id = world.succeeded()
    if stage == "submitted":
        release_id = world.risk.request_release(job_id, "for underwriting")["id"]
    else:
        release_id = world.reviewed(job_id)
        if stage == "approved":
            world.operator.approve_release(release_id, "in order")
    vetoed = world.owner.veto_release(release_id, "outside the agreement")
    assert (vetoed["state"], vetoed["cause"]["code"]) == ("rejected", "vetoed")
    assert world.lab.work() == []
    assert refused(world.operator.approve_release, release_id, "anyway").code == "illegal_transition"
    assert world.risk.request_release(job_id, "again, corrected")["state"] == "submitted"


def test_what_is_out_cannot_be_vetoed(world: World) -> None:
    release_id = world.released(world.succeeded())
    assert refused(world.owner.veto_release, release_id, "too late").code == "illegal_transition"


def test_a_node_that_cannot_place_the_file_returns_the_release(world: World) -> None:
    job_id = world.succeeded()
    release_id = world.reviewed(job_id)
    world.operator.approve_release(release_id, "in order")
    world.bank.release(release_id)
    world.lab.release(release_id, state="failed", code="disk_full", message="no space", message_zh="磁盘已满")
    row = world.risk.release(release_id)
    assert (row["state"], row["cause"]["code"]) == ("returned", "disk_full")
    assert world.risk.request_release(job_id, "disk cleared")["state"] == "submitted"


def test_another_file_than_the_ordered_one_is_not_a_release(world: World) -> None:
    release_id = world.reviewed(world.succeeded())
    world.operator.approve_release(release_id, "in order")
    world.lab.release(release_id, sha256="cd" * 32)
    row = world.risk.release(release_id)
    assert (row["state"], row["cause"]["code"]) == ("returned", "sha256_differs")


def told(world: World, release_id: str, share: float) -> None:
    path = f"/v1/node/releases/{release_id}/share"
    world.lab.http.post(path, json={"share": share, "seq": 1}).raise_for_status()


def test_what_too_many_have_left_is_not_approved(world: World) -> None:
    """R44: scope `release`. The nodes tell the share of a model that is asked for, so it is known by the approval."""
    release_id = world.reviewed(world.succeeded())
    assert [i["state"] for i in world.lab.http.get("/v1/node/releases").json()["items"]] == ["reviewed"]
    told(world, release_id, 0.11)
    denied = refused(world.operator.approve_release, release_id, "in order")
    assert (denied.status, denied.code) == (403, "release_recalled")
    assert denied.message_zh
    told(world, release_id, 0.1)
    assert world.operator.approve_release(release_id, "in order")["state"] == "approved"


def test_what_too_many_leave_between_approval_and_hand_over_is_returned(world: World) -> None:
    """R44: scope `export`."""
    job_id = world.succeeded()
    release_id = world.reviewed(job_id)
    world.operator.approve_release(release_id, "in order")
    world.lab.release(release_id)
    told(world, release_id, 0.2)
    assert world.bank.release(release_id).json()["state"] == "returned"
    row = world.risk.release(release_id)
    assert (row["state"], row["cause"]["code"]) == ("returned", "release_recalled")
    assert world.risk.request_release(job_id, "again")["state"] == "submitted"


def test_only_a_succeeded_job_with_a_report_has_something_to_release(world: World) -> None:
    job_id = world.running()
    assert refused(world.risk.request_release, job_id, "early").code == "nothing_to_release"
    for node in (world.bank, world.lab):
        node.state(job_id, "succeeded")
    assert refused(world.risk.request_release, job_id, "no report").code == "nothing_to_release"


def test_one_open_release_a_job(world: World) -> None:
    job_id = world.succeeded()
    world.risk.request_release(job_id, "first")
    assert refused(world.risk.request_release, job_id, "second").code == "exists"


def test_confirming_twice_changes_nothing(world: World) -> None:
    release_id = world.released(world.succeeded())
    assert world.bank.release(release_id, state="failed", code="x", message="y").json()["state"] == "released"
    with pytest.raises(LabError):
        world.risk.release("r-000000000000")
