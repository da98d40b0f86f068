"""However a job ends, both nodes end soon, say why, leave no process and no plaintext, and it can be run again (R17).

Two real nodes and a real control plane, the same for every test, beside the node that has the fault; zone mode where
the ending does not depend on the engine.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consent.keys import SigningKey
from enclave import pki
from tests.integration.conftest import Pair, consented, ids, write_tables
from tests.support.control_plane import free_port
from tests.support.lab import Lab

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("clean_disk")]
LIMIT = 60.0  # seconds from the fault to the end on both sides
TINY = {"name": "boosting", "params": {"rounds": 8, "max_depth": 2}}
LONG = {"name": "boosting", "params": {"rounds": 60, "max_depth": 4}}


@contextmanager
def within(seconds: float = LIMIT) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def assert_both_ended(lab: Lab, job: dict, code: str | tuple[str, ...], state: str = "failed") -> None:
    """The job and both parties are over, for a reason in two languages, and no sandbox is left."""
    codes = (code,) if isinstance(code, str) else code
    assert job["state"] == state, job
    assert job["cause"]["code"] in codes, job["cause"]
    assert job["cause"]["message"]
    assert job["cause"]["message_zh"]
    assert "Traceback" not in job["cause"]["message"]
    deadline = time.monotonic() + 15
    for node in lab.nodes.values():
        while node.running and node.processes():
            assert time.monotonic() < deadline, f"{node.name} left {node.processes()}"
            time.sleep(0.1)


def party_ends(lab: Lab, job_id: str) -> set[str]:
    """The states in which both sides ended: one may say so after the job has settled on its cause."""
    deadline = time.monotonic() + 15
    while True:
        states = {party["state"] for party in lab.clients["operator"].job(job_id)["parties"].values()}
        if "running" not in states or time.monotonic() > deadline:
            return states
        time.sleep(0.1)


def test_a_peer_killed_in_the_middle_fails_the_job_and_a_retry_succeeds(running: Lab, pair: Pair) -> None:
    job = pair.propose(mode="federated", recipe=LONG)
    running.wait_phase(job, "fit_lab")
    _, node = pair.nodes
    inside = node.processes()
    with within():
        node.kill()
        ended = running.wait(job, LIMIT)
        assert_both_ended(running, ended, ("peer_lost", "node_not_heard", "node_restarted"))
    assert inside
    node.start()
    again = running.clients["risk-bank_a"].retry_job(job, "the node is back")["id"]
    running.clients["operator"].cancel_job(again, "a shorter one will do")
    job = pair.propose(recipe=TINY)
    assert running.wait(job, 120)["state"] == "succeeded"


def test_a_lab_killed_in_the_middle_fails_the_job_at_the_bank_too(running: Lab, pair: Pair) -> None:
    job = pair.propose(recipe={"name": "boosting", "params": {"rounds": 300, "max_depth": 6}})
    running.wait_phase(job, "open")
    with within():
        pair.nodes[0].kill()
        ended = running.wait(job, LIMIT)
        assert_both_ended(running, ended, ("peer_lost", "node_not_heard"))


def test_a_frozen_peer_is_noticed(running: Lab, pair: Pair) -> None:
    job = pair.propose(mode="federated", recipe=LONG)
    running.wait_phase(job, "psi")
    _, node = pair.nodes
    with within():
        node.freeze()
        ended = running.wait(job, LIMIT)
    node.kill()
    assert_both_ended(running, ended, ("peer_lost", "node_not_heard", "stalled"))


def test_a_peer_that_is_never_there_is_named(running: Lab, pair: Pair) -> None:
    _, node = pair.nodes
    node.stop()
    with within():
        job = pair.propose(recipe=TINY, deadlines={"connect": 5})
        ended = running.wait(job, LIMIT)
        assert_both_ended(running, ended, ("peer_absent", "node_not_heard"))
    assert node.name in ended["cause"]["message"]


@pytest.mark.parametrize("fault", ["expired", "stranger"])
def test_a_bad_certificate_ends_the_job_by_name(
    running: Lab, pair: Pair, tables: Path, tmp_path: Path, fault: str
) -> None:
    authority = running.ca
    options: dict = {}
    if fault == "stranger":
        authority = tmp_path / "other-ca"
        authority.mkdir()
        pki.create_ca(authority)
    else:
        options = {"days": 1, "not_before": datetime.now(UTC) - timedelta(days=3)}
    certificate = pki.issue(authority, fault, ["127.0.0.1"], tmp_path / "bad", **options)
    running.add_node(pair.bank, tables / "bank", name=fault, certificate=certificate)
    running.wait_nodes(fault)
    with within():
        ended = running.wait(pair.propose(bank=fault, recipe=TINY, deadlines={"connect": 10}), LIMIT)
        assert_both_ended(running, ended, "own_certificate")
    assert ("expired" if fault == "expired" else "authority") in ended["cause"]["message"]


def test_a_taken_port_stops_the_lab_node_with_a_clear_word(running: Lab, tables: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        node = running.add_node("lab", tables / "lab", name="lab-taken", relay_port=port)
        assert node.process is not None
        assert node.process.wait(30) == 1
    assert f"127.0.0.1:{port}" in node.log.read_text()
    assert "Traceback" not in node.log.read_text()


def test_a_full_disk_at_the_peer_fails_the_job_on_both_sides(running: Lab, pair: Pair, tables: Path) -> None:
    running.add_node(
        "lab", tables / "lab", name="lab-full", relay_port=free_port(), limits="[limits]\nscratch_mb = 0.02"
    )
    running.wait_nodes("lab-full")
    with within(90):
        ended = running.wait(pair.propose(mode="federated", lab="lab-full", recipe=TINY), 90)
        assert_both_ended(running, ended, "disk_full")
    assert party_ends(running, ended["id"]) == {"failed"}


def test_a_cancelled_job_ends_on_both_sides_at_once(running: Lab, pair: Pair) -> None:
    job = pair.propose(mode="federated", recipe=LONG)
    running.wait_phase(job, "psi")
    with within(20):
        running.clients["operator"].cancel_job(job, "changed our mind")
        assert_both_ended(running, running.wait(job, 20), "cancelled", state="cancelled")


def test_an_empty_intersection_is_said_plainly(running: Lab, pair: Pair, tmp_path: Path) -> None:
    elsewhere = ids(5000, 5300)
    tables = write_tables(tmp_path / "data", ids(0, 300), elsewhere)
    consented(running, pair.bank, elsewhere, pair.people)
    running.add_node("lab", tables / "lab", name="lab-elsewhere", relay_port=free_port())
    running.wait_nodes("lab-elsewhere")
    with within(90):
        ended = running.wait(pair.propose(mode="federated", lab="lab-elsewhere", recipe=TINY), 90)
        assert_both_ended(running, ended, "empty_intersection")


def test_all_consents_withdrawn_stops_the_job(running: Lab, pair: Pair, bank: str, tmp_path: Path) -> None:
    everybody = ids(300, 700)
    tables = write_tables(tmp_path / "data", everybody, everybody)
    people = consented(running, bank, everybody)
    node = running.add_node(bank, tables / "bank")
    running.wait_nodes(node.name)
    job = running.propose("tiny", bank, lab=pair.nodes[0].name, mode="federated", recipe=LONG)
    running.approve(job)
    running.wait_phase(job, "psi")
    running.consent(people.withdrawal(one, bank) for one in everybody)
    ended = running.wait(job, 120)
    assert_both_ended(running, ended, "no_consented_rows", state="stopped_by_consent")


def test_without_any_consent_no_ticket_is_signed(running: Lab, pair: Pair, bank: str, tables: Path) -> None:
    running.add_node(bank, tables / "bank")
    running.wait_nodes(f"{bank}-node")
    job = running.propose("tiny", bank, lab=pair.nodes[0].name, recipe=TINY)
    running.clients["owner"].approve_job(job, "fit")
    with pytest.raises(Exception, match="consent"):
        running.clients["operator"].approve_job(job, "in order")


def test_a_node_refuses_a_ticket_that_the_platform_did_not_sign(
    running: Lab, pair: Pair, tables: Path, tmp_path: Path
) -> None:
    """The node pins the platform key: a control plane with another key cannot make it touch a row."""
    node = running.add_node(pair.bank, tables / "bank", name="another-pin", start=False)
    other = tmp_path / "other.pub"
    other.write_text(SigningKey.generate().public.b64)
    config = node.folder / "node.toml"
    config.write_text(config.read_text().replace(str(running.control.platform_key), str(other)))
    node.start()
    running.wait_nodes(node.name)
    with within():
        ended = running.wait(pair.propose(bank=node.name, recipe=TINY, deadlines={"connect": 5}), LIMIT)
        assert_both_ended(running, ended, "ticket_refused")
