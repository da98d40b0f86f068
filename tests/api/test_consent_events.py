"""Events to bank systems: signed, in order without gaps, polled and acknowledged, or delivered over HTTPS."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.consent_events import webhooks
from api.db import SYSTEM
from consent.signed import read_canonical, verify
from enclave import pki
from tests.api.test_jobs import refused
from tests.api.world import Enterprise, World


def events(client: Any, **params: Any) -> dict[str, Any]:
    return client.call("GET", "/v1/consent-events", params=params)


def ack(client: Any, position: int) -> dict[str, Any]:
    return client.call("POST", "/v1/consent-events/ack", json={"position": position})


def test_every_change_is_an_event_of_the_institution_it_concerns_and_of_no_other(world: World) -> None:
    world.operator.add_institution("bank-b", "Bank B", "bank")
    other = world.person("risk-b", "bank-b", "risk")
    one, two = Enterprise("E1"), Enterprise("E2")
    consent = one.consent("c-1")
    world.gateway.import_consents([consent, two.consent("c-2", recipient="bank-b")])
    paused = one.transition(consent, "pause")
    world.gateway.import_consents([paused, one.transition(paused, "resume"), one.withdrawal("c-1")])
    page = events(world.risk)
    bodies = [verify(document, "platform", world.key.public) for document in page["events"]]
    assert [body["position"] for body in bodies] == [1, 2, 3, 4]
    assert [body["event"]["state"] for body in bodies] == ["active", "paused", "active", "withdrawn"]
    assert {body["event"]["consent_id"] for body in bodies} == {"c-1"}
    assert [body["event"]["seq"] for body in bodies] == [1, 3, 4, 5]
    assert [e["body"]["event"]["consent_id"] for e in events(other)["events"]] == ["c-2"]
    assert refused(events, world.operator).status == 403


def test_positions_are_acknowledged_once_and_never_go_back(world: World) -> None:
    world.cohort(5)
    assert [e["body"]["position"] for e in events(world.risk, limit=2)["events"]] == [1, 2]
    assert ack(world.risk, 2) == {"acked": 2, "last": 5}
    assert [e["body"]["position"] for e in events(world.risk)["events"]] == [3, 4, 5]
    assert ack(world.risk, 1)["acked"] == 2
    assert [e["body"]["position"] for e in events(world.risk, after=0)["events"]] == [1, 2, 3, 4, 5]
    assert refused(ack, world.risk, 6).code == "position_unknown"
    ack(world.risk, 5)
    assert events(world.risk) == {"events": [], "last": 5, "acked": 5}


def test_a_waiting_poll_is_answered_by_the_change_itself(world: World) -> None:
    got: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: got.append(events(world.risk, wait=20)))
    thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    world.gateway.import_consents([Enterprise("E1").consent("c-1")])
    thread.join(5)
    assert got and len(got[0]["events"]) == 1
    assert time.monotonic() - began < 1


def test_imports_at_once_leave_no_gap_in_an_institutions_events(world: World) -> None:
    def send(worker: int) -> None:
        with world.client("gateway") as client:
            for part in range(4):
                client.import_consents(
                    [Enterprise(f"W{worker}-{part}-{i}").consent(f"c-{worker}-{part}-{i}") for i in range(10)]
                )

    threads = [threading.Thread(target=send, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e["body"]["position"] for e in events(world.risk, limit=500)["events"]] == list(range(1, 121))


# ---- webhooks


class Receiver:
    """A bank's HTTPS address: keeps what it takes, and answers with `status`."""

    def __init__(self, folder: Path) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.taken.append((dict(self.headers), body))
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", "https://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        pki.create_ca(folder)
        cert, key = pki.issue(folder, "bank-system", ["127.0.0.1", "localhost"], folder / "pki")
        self.ca = folder / "pki" / "ca.crt"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}/events"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, count: int, seconds: float = 5) -> None:
        deadline = time.monotonic() + seconds
        while len(self.taken) < count:
            assert time.monotonic() < deadline, f"{len(self.taken)} of {count} deliveries"
            time.sleep(0.05)

    def positions(self) -> list[int]:
        return [event["position"] for _, body in self.taken for event in json.loads(body)["body"]["events"]]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    one = Receiver(tmp_path)
    yield one
    one.server.shutdown()


def hooked(make_world: Callable[..., World], receiver: Receiver, **settings: Any) -> tuple[World, dict[str, Any]]:
    world = make_world(webhook_ca=receiver.ca, webhook_pause_seconds=1, **settings)
    return world, world.operator.call("POST", "/v1/webhooks", json={"institution": "bank-a", "url": receiver.url})


def test_a_delivery_is_signed_twice_in_order_and_carries_no_secret(
    make_world: Callable[..., World], receiver: Receiver
) -> None:
    world, made = hooked(make_world, receiver)
    world.gateway.import_consents([Enterprise(f"E{i}").consent(f"c-{i}") for i in range(3)])
    receiver.wait(1)
    headers, body = receiver.taken[0]
    assert headers[webhooks.SIGNATURE_HEADER] == webhooks.signature(made["secret"], body)
    document = verify(read_canonical(body), "platform", world.key.public)
    assert (document["institution"], [e["position"] for e in document["events"]]) == ("bank-a", [1, 2, 3])
    assert made["secret"].encode() not in body
    everything = json.dumps([world.operator.call("GET", "/v1/webhooks"), world.operator.audit()])
    assert made["secret"] not in everything
    with world.db.engine.connect() as connection:  # nor is it anywhere in the database, in any spelling of its bytes
        tables = connection.exec_driver_sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").scalars()
        derived = world.control.secret.derive("webhook", made["id"])
        for table in tables.all():
            rows = connection.exec_driver_sql(f'SELECT t::text FROM "{table}" t').scalars().all()
            assert not any(made["secret"] in row or derived.hex() in row for row in rows), table
    world.gateway.import_consents([Enterprise("E9").consent("c-9")])
    receiver.wait(2)
    assert receiver.positions() == [1, 2, 3, 4]


@pytest.mark.parametrize("status", [500, 302, 404])
def test_what_is_not_taken_is_tried_again_and_nothing_is_lost(
    make_world: Callable[..., World], receiver: Receiver, status: int
) -> None:
    world, _ = hooked(make_world, receiver)
    receiver.status = status
    world.gateway.import_consents([Enterprise("E1").consent("c-1")])
    deadline = time.monotonic() + 5
    while not (row := world.operator.call("GET", "/v1/webhooks")["items"][0])["attempts"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert row["last_fault"] == f"HTTP {status}"
    assert datetime.fromisoformat(row["next_at"]) > datetime.now(UTC)
    receiver.status = 200
    world.clock.advance(2)
    receiver.wait(1)
    assert receiver.positions() == [1]


def test_what_is_never_taken_becomes_a_dead_letter_and_stays_in_the_poll(
    make_world: Callable[..., World], receiver: Receiver
) -> None:
    world, made = hooked(make_world, receiver, webhook_attempts=3)
    receiver.status = 500
    world.cohort(4)
    deadline = time.monotonic() + 8
    address = f"/v1/webhooks/{made['id']}/dead-letters"
    while not (letters := world.operator.call("GET", address)["items"]):
        assert time.monotonic() < deadline
        world.clock.advance(5)
        time.sleep(0.1)
    assert [(one["first"], one["last"], one["attempts"], one["fault"]) for one in letters] == [(1, 4, 3, "HTTP 500")]
    receiver.status = 200
    world.gateway.import_consents([Enterprise("E9").consent("c-9")])
    receiver.wait(1)
    assert receiver.positions() == [5]
    assert len(events(world.risk)["events"]) == 5


def test_an_address_with_a_strangers_certificate_gets_nothing(
    make_world: Callable[..., World], receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    pki.create_ca(tmp_path / "other")
    pki.issue(tmp_path / "other", "x", ["127.0.0.1"], tmp_path / "other" / "pki")
    receiver.ca = tmp_path / "other" / "pki" / "ca.crt"
    world, made = hooked(make_world, receiver)
    world.cohort(1)
    assert webhooks.deliver(world.control, made["id"]) is False
    assert receiver.taken == []


def test_a_removed_webhook_is_not_served(make_world: Callable[..., World], receiver: Receiver) -> None:
    world, made = hooked(make_world, receiver)
    address = f"/v1/webhooks/{made['id']}/remove"
    assert world.operator.call("POST", address, json={"reason": "moved"})["state"] == "removed"
    world.cohort(1)
    assert webhooks.deliver(world.control, made["id"]) is False
    assert refused(world.operator.call, "POST", address, json={"reason": "again"}).status == 409


@pytest.mark.parametrize(
    "url", ["http://bank.example/x", "https://user:pw@bank.example/", "ftp://x", "https://x y", "https://"]
)
def test_only_a_plain_https_address_is_taken(shared: World, url: str) -> None:
    body = {"institution": "bank-a", "url": url}
    assert refused(shared.operator.call, "POST", "/v1/webhooks", json=body).code == "invalid_request"


def test_pauses_double_up_to_an_hour() -> None:
    assert [webhooks.pause(n, 5) for n in (1, 2, 3, 20)] == [5, 10, 20, 3600]


def test_two_processes_do_not_deliver_at_once(make_world: Callable[..., World], receiver: Receiver) -> None:
    world, made = hooked(make_world, receiver, sweep_seconds=3600)
    world.cohort(1)
    from api.consent_events import repository

    with world.db.unit(SYSTEM) as unit:
        assert repository.cursor(unit.session, made["id"]) is not None
        assert webhooks.deliver(world.control, made["id"]) is False
    assert webhooks.deliver(world.control, made["id"]) is True
