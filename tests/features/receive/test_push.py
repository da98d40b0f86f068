"""Batches pushed over HTTP: what is answered, who may, what is kept."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet
import pytest

from features.ingest import Delivery, Intake, read_file
from features.receive.app import ENDINGS, create_app
from features.receive.desk import Desk
from features.receive.settings import load
from features.receive.spool import Spool
from features.store import EventStore
from tests.features.events import CATALOGUE
from tests.features.ingest.desk import penalty, write_csv
from tests.features.receive.conftest import Service


def csv(*rows: dict[str, Any]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([str(row.get(name) or "") for name in names] for row in rows)]
    return "".join(",".join(line) + "\n" for line in lines).encode()


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parquet(*rows: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(list(rows)), sink)
    return sink.getvalue()


BODIES = {"text/csv": csv, "application/x-ndjson": jsonl, "application/vnd.apache.parquet": parquet}


@pytest.mark.parametrize("kind", list(BODIES))
def test_a_pushed_batch_is_taken_in_like_a_file(service: Service, kind: str, tmp_path: Any) -> None:
    """R37, R60: the same events, counts, held rows and collection record."""
    rows = [penalty(f"{ENDINGS[kind]}-1"), penalty(f"{ENDINGS[kind]}-2", fine_amount="x")]
    body = BODIES[kind](*rows)
    answer = service.push(body, content_type=kind, collected_at="2024-03-11T08:00:00")
    assert answer.status_code == 200, answer.text
    said = answer.json()
    file = tmp_path / f"{said['id']}.{ENDINGS[kind]}"
    file.write_bytes(body)
    told = Delivery("justice", "administrative", "一次测试 a test", "push", "justice-1")
    by_file = Intake(EventStore(tmp_path / "store", CATALOGUE)).ingest(told, read_file(file))
    pushed = service.intake.log.entry(said["record"]["seq"])
    passing = {"batch", "received_at", "collected_at", "details", "files", "seq", "store_seq", "previous"}
    assert {name: value for name, value in pushed.__dict__.items() if name not in passing} == {
        name: value for name, value in by_file.__dict__.items() if name not in passing
    }
    assert pushed.collected_at == "2024-03-11T08:00:00"
    assert (said["record"]["submitter"], said["record"]["method"]) == ("justice-1", "push")
    assert said["sha256"] == said["record"]["sha256"] == hashlib.sha256(body).hexdigest()
    assert [(one["column"], one["code"], one["rows"]) for one in said["faults"]] == [
        ("fine_amount", "not_decimal", [2])
    ]
    assert f"{ENDINGS[kind]}-1" in service.records()
    assert [one.record_id for one in service.intake.held() if one.batch == pushed.batch] == [f"{ENDINGS[kind]}-2"]


def test_a_batch_is_answered_at_once_and_asked_about_later(service: Service) -> None:
    answer = service.push(csv(penalty("later")), wait=0)
    where = answer.headers["location"]
    assert (answer.status_code, answer.json()["record"]) == (202, None)
    until = time.monotonic() + 10
    while (said := service.get(where).json())["state"] == "received" and time.monotonic() < until:
        time.sleep(0.05)
    assert (said["state"], said["record"]["counts"]["written"]) == ("taken", 1)


def test_corrections_and_deletions_are_events(service: Service) -> None:
    """R59: the source's own later words on a record are pushed like the first ones."""
    rows = [penalty("story"), penalty("story", op="correct", revision="2", fine_amount="50"),
            penalty("story", op="delete", revision="3")]  # fmt: skip
    for row in rows:
        assert service.push(jsonl(row), content_type="application/jsonl").json()["record"]["counts"]["written"] == 1
    assert service.records().count("story") == 6  # a commit holds every version of the records that it amends
    again = service.push(jsonl(*rows), content_type="application/jsonl").json()["record"]["counts"]
    assert (again["written"], again["redelivered"], again["ops"]) == (0, 3, {"assert": 1, "correct": 1, "delete": 1})


def test_a_report_names_rows_and_columns_and_quotes_no_value(service: Service) -> None:
    """R54: the source is told what to correct."""
    rows = [penalty("r1"), penalty("r2", event_date="secretly"), penalty("r3", act_kind=None)]
    said = service.push(csv(*rows)).json()
    report = service.get(f"/intake/v1/batches/{said['id']}/report")
    assert report.headers["content-type"] == "application/json"
    found = {(one["column"], row) for one in report.json()["faults"] for row in one["rows"]}
    assert {("event_date", 2), ("act_kind", 3)} <= found
    assert report.json()["faults"] == said["faults"]
    table = service.get(f"/intake/v1/batches/{said['id']}/report?format=csv")
    assert "2,event_date,事件日期,not_date" in table.text.replace('"', "")
    assert "secretly" not in report.text + table.text + json.dumps(said)


def test_a_batch_without_faults_has_no_report(service: Service) -> None:
    said = service.push(csv(penalty("clean"))).json()
    answer = service.get(f"/intake/v1/batches/{said['id']}/report")
    assert (answer.status_code, answer.json()["code"]) == (404, "push_no_report")


@pytest.mark.parametrize(
    ("body", "said", "status", "code", "names"),
    [
        (csv(penalty("x", strange="1")), {}, 422, "ingest_unknown_column", "strange"),
        (b"\xff\xfe\x00", {}, 422, "ingest_encoding", "utf-8"),
        (b"no parquet", {"content_type": "application/vnd.apache.parquet"}, 422, "ingest_unreadable", "Parquet"),
        (csv(penalty("x")), {"object": " "}, 422, "ingest_header", "object"),
        (csv(penalty("x")), {"collected_at": "yesterday"}, 422, "push_parameter", "collected_at"),
        (csv(penalty("x")), {"collected_at": "2999-01-01T00:00:00"}, 422, "ingest_header", "collected_at"),
        (csv(penalty("x")), {"content_type": "text/csv; charset=utf-16"}, 422, "ingest_header", "encoding"),
        (csv(penalty("x")), {"content_type": "text/html"}, 415, "push_media_type", "text/csv"),
        (csv(penalty("x")), {"content_type": ""}, 415, "push_media_type", "text/csv"),
        (csv(penalty("x")), {"header_content_encoding": "gzip"}, 415, "push_media_type", "Content-Encoding"),
        (csv(penalty("x")), {"header_content_digest": "md5=:x:"}, 400, "push_digest", "sha-256"),
        (csv(penalty("x")), {"header_content_digest": f"sha-256=:{base64.b64encode(b'0' * 32).decode()}:"}, 400,
         "push_digest", "Content-Digest"),
        (csv(penalty("x")), {"header_idempotency_key": "two words"}, 400, "push_key", "Idempotency-Key"),
        (csv(*(penalty(str(row)) for row in range(202))), {}, 422, "push_too_many_rows", "200"),
        (parquet(*(penalty(str(row)) for row in range(202))), {"content_type": "application/vnd.apache.parquet"}, 422,
         "push_too_many_rows", "200"),
        (b"", {}, 422, "push_empty", "empty"),
        (b"x" * (1 << 20) + b"y", {}, 413, "push_too_large", "1 MB"),
        (csv(penalty("x")), {"category": "tax"}, 403, "push_not_granted", "tax"),
        (csv(penalty("x")), {"source": "tax_bureau"}, 403, "push_not_granted", "tax_bureau"),
        (csv(penalty("x")), {"category": "credit"}, 403, "push_not_granted", "credit"),
        (csv(penalty("x")), {"backfill": "true"}, 403, "push_not_granted", "known_at"),
        (csv(penalty("x")), {"unit": "stranger"}, 403, "push_unknown_unit", "grant"),
        (csv(penalty("x")), {"unit": "tax-1"}, 403, "push_not_granted", "justice"),
    ],
)  # fmt: skip
def test_what_is_refused_is_told_in_both_languages_and_not_kept(
    service: Service, body: bytes, said: dict[str, Any], status: int, code: str, names: str
) -> None:
    before = service.records(), len(service.intake.log.entries()), service.store.latest()
    answer = service.push(body, **said)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert (problem["status"], problem["code"]) == (status, code)
    assert names in problem["detail"]
    assert problem["detail_zh"] != problem["detail"]
    assert (service.records(), len(service.intake.log.entries()), service.store.latest()) == before
    assert service.left() == []
    chinese = service.push(body, **said, header_accept_language="zh-CN")
    assert (chinese.json()["detail"], chinese.headers["content-language"]) == (chinese.json()["detail_zh"], "zh")


def test_a_missing_parameter_is_named(service: Service) -> None:
    with service.client() as client:
        answer = client.post("/intake/v1/batches?source=justice&object=a", content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (422, "push_parameter")
    assert "category" in answer.json()["detail"]
    assert service.get("/intake/v1/nothing").json()["code"] == "push_no_such_route"


def test_a_body_whose_length_is_not_told_is_cut_at_the_bound(service: Service) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * (1 << 16)

    answer = service.push(endless())
    assert (answer.status_code, answer.json()["code"]) == (413, "push_too_large")
    assert service.left() == []


def test_a_body_that_does_not_arrive_in_time_is_let_go(service: Service) -> None:
    def slow() -> Iterator[bytes]:
        yield csv(penalty("slow"))
        time.sleep(3)
        yield b""

    answer = service.push(slow())
    assert (answer.status_code, answer.json()["code"]) == (408, "push_deadline")
    assert service.left() == []


def test_a_sender_that_breaks_off_leaves_nothing(service: Service) -> None:
    before = service.records(), len(service.intake.log.entries())
    with (
        socket.create_connection(("127.0.0.1", service.port)) as plain,
        service.context("justice-1").wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        head = "POST /intake/v1/batches?source=justice&category=administrative&object=a HTTP/1.1\r\nHost: x\r\n"
        body = csv(penalty("broken-off"))
        stream.sendall(f"{head}Content-Type: text/csv\r\nContent-Length: {len(body) + 1}\r\n\r\n".encode() + body)
        until = time.monotonic() + 5
        while not service.left() and time.monotonic() < until:
            time.sleep(0.01)
        assert len(service.left()) == 1  # it was on its way
    until = time.monotonic() + 5
    while service.left() and time.monotonic() < until:
        time.sleep(0.01)
    assert service.left() == []
    assert (service.records(), len(service.intake.log.entries())) == before


def test_a_batch_is_received_once_under_its_key(service: Service) -> None:
    """R37: a sender that lost the answer asks again and makes no second record of collection."""
    body = csv(penalty("once"))
    first = service.push(body, header_idempotency_key="k-1").json()
    count = len(service.intake.log.entries())
    again = service.push(body, header_idempotency_key="k-1")
    assert (again.status_code, again.json()) == (200, first)
    other = service.push(csv(penalty("twice")), header_idempotency_key="k-1")
    assert (other.status_code, other.json()["code"]) == (409, "push_key_reused")
    assert len(service.intake.log.entries()) == count
    unlike = service.push(body, header_idempotency_key="k-2").json()
    assert (unlike["record"]["counts"]["written"], unlike["record"]["counts"]["redelivered"]) == (0, 1)
    assert len(service.intake.log.entries()) == count + 1
    assert service.left() == []


def test_a_body_as_its_digest_says_is_taken(service: Service) -> None:
    body = csv(penalty("digest"))
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert service.push(body, header_content_digest=f"sha-256=:{digest}:").status_code == 200


def test_a_unit_sees_its_own_batches_only(service: Service) -> None:
    said = service.push(csv(penalty("mine"), penalty("bad", fine_amount="x"))).json()
    for path in (f"/intake/v1/batches/{said['id']}", f"/intake/v1/batches/{said['id']}/report"):
        assert service.get(path).status_code == 200
        other = service.get(path, unit="tax-1")
        missing = service.get(path.replace(said["id"], "0" * 32), unit="tax-1")
        assert (other.status_code, other.json()["code"]) == (404, "push_unknown_batch")
        assert {**other.json(), "instance": ""} == {**missing.json(), "instance": ""}
        assert service.get(path, unit="stranger").json()["code"] == "push_unknown_unit"
    assert service.get("/intake/v1/batches/..%2Fsettled").status_code == 404


def test_a_unit_that_has_too_much_waiting_is_told_to_come_later(service: Service) -> None:
    def slow() -> Iterator[bytes]:
        yield b"uscc\n"
        time.sleep(1)

    threads = [threading.Thread(target=service.push, args=(slow(),)) for _ in range(3)]
    for one in threads:
        one.start()
    until = time.monotonic() + 5
    while len(service.left()) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    answer = service.push(csv(penalty("fourth")))
    for one in threads:
        one.join()
    assert (answer.status_code, answer.json()["code"]) == (429, "push_too_many")
    assert int(answer.headers["retry-after"]) > 0
    assert service.push(csv(penalty("fourth"))).status_code == 200


@pytest.mark.parametrize("who", ["nobody", "foreign", "old"])
def test_only_certificates_of_the_authority_and_tls_1_3_are_let_in(service: Service, who: str) -> None:
    context = service.context(None if who == "nobody" else "justice-1", "foreign" if who == "foreign" else "pki")
    if who == "old":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    with httpx.Client(verify=context) as client, pytest.raises(httpx.TransportError):
        client.get(f"https://127.0.0.1:{service.port}/healthz")
    assert service.get("/healthz").json()["status"] == "ok"


def test_no_route_but_health_answers_without_a_grant(service: Service) -> None:
    settings = load(service.folder / "receive.toml", CATALOGUE)
    spool = Spool(settings.spool)
    app = create_app(settings, Desk(Intake(service.store), spool, max_rows=1, max_bytes=1, max_waiting=1))
    paths = app.openapi()["paths"]
    batches = "/intake/v1/batches"
    assert sorted(paths) == ["/healthz", batches, f"{batches}/{{batch_id}}", f"{batches}/{{batch_id}}/report"]
    for path, methods in paths.items():
        for method in methods if path != "/healthz" else ():
            with service.client("stranger") as client:
                where = path.replace("{batch_id}", "0" * 32)
                answer = client.request(method, where, params={"source": "a", "category": "b", "object": "c"})
            assert (answer.status_code, answer.json()["code"]) == (403, "push_unknown_unit"), path


def test_gb18030_is_read_as_its_charset_says(service: Service, tmp_path: Any) -> None:
    row = {"统一社会信用代码" if name == "uscc" else name: value for name, value in penalty("gb").items()}
    path = write_csv(tmp_path / "gb.csv", [row], "gb18030")
    answer = service.push(path.read_bytes(), content_type="text/csv; charset=GB18030")
    assert answer.json()["record"]["counts"]["accepted"] == 1


def test_headings_are_renamed_and_left_out_as_the_sender_says(service: Service) -> None:
    rows = [{"户号" if name == "record_id" else name: value for name, value in penalty("named", 备注="x").items()}]
    said = service.push(csv(*rows), columns=["户号=record_id"], ignore=["备注"]).json()
    assert said["record"]["counts"]["written"] == 1, said
    assert "named" in service.records()
    wrong = service.push(csv(*rows), columns=["户号"], ignore=["备注"])
    assert (wrong.status_code, wrong.json()["code"]) == (422, "push_columns")


def test_the_same_batch_sent_twice_is_told_from_another(service: Service) -> None:
    spool = Spool(service.folder / "spool")
    said = service.push(csv(penalty("same"))).json()
    batch = spool.find(said["id"])
    assert batch is not None
    assert batch.same(replace(batch, order=0, received_at="", state="received"))
    assert not batch.same(replace(batch, unit="tax-1"))
    assert not batch.same(replace(batch, backfill=True))
