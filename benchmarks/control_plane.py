"""The control plane under load: `creditlab serve` with its own PostgreSQL and TLS, a million applications on record.

Owns the mix and how it is offered: requests leave at fixed moments whether or not earlier ones were answered, so a
stall is seen in the latencies of all that waited behind it. The load comes from a process of its own on the same two
cores. Rows are put into the database past all our code; what is measured is reading and writing through it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np
import psycopg
import uvloop

from api.applications.repository import Referral
from api.client import LabClient
from api.paging import Order
from benchmarks.bars import LOAD_RATE, control_bar
from benchmarks.data import PROJECT
from benchmarks.results import BenchmarkFailed, Row, Section, say
from enclave import pki

APPLICATIONS = 1_000_000
SECONDS = 30.0
PAGES = 60
_START = 60
_WARMING = 16  # requests that make the connections
_PAPERS = {
    "agreement": {"reference": "AG-1", "signed_on": "2026-01-05"},
    "assessment": {"reference": "SA-1", "assessor": "Assessors", "assessed_on": "2026-01-06"},
}
_BASIC = {
    "name": "x", "subject": "company", "region": "440305", "industry": "C3922", "size": "small",
    "established_on": "2015-06-01", "employees": 120, "annual_revenue": "56000000.00", "address": "x",
    "contact_name": "x", "contact": "0", "certifications": [],
}  # fmt: skip
# share of the load → request; {n} is a number of an application
MIX = (
    (25, "GET", "/v1/referrals?limit=50"),
    (20, "GET", "/v1/referrals/rf-{n:012x}"),
    (10, "GET", "/v1/referrals?state=accepted&limit=50"),
    (10, "GET", "/v1/products?limit=50"),
    (5, "GET", "/v1/whoami"),
    (5, "GET", "/v1/clocks?limit=50"),
    (15, "POST", "/v1/referrals/rf-{n:012x}/messages"),
    (10, "POST", "/v1/products"),
)


@dataclass
class Served:
    url: str
    ca: Path
    operator: str
    officer: str
    database: str


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """A control plane of its own with a bank and its officer."""
    home, ca = folder / "home", folder / "ca"
    for path in (home, ca):
        path.mkdir(parents=True)
    pki.create_ca(ca)
    pki.issue(ca, "control", ["127.0.0.1", "localhost"], home / "pki")
    log = (folder / "serve.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "serve", "--home", str(home), "--port", "0"],
        stdout=log, stderr=log, cwd=PROJECT, env={"PATH": "/usr/bin:/bin", "CREDITLAB_RATE_PER_MINUTE": "10000000"},
    )  # fmt: skip
    try:
        url = _address(folder / "serve.log", process)
        operator = (home / "operator.token").read_text().strip()
        with LabClient(url, home / "pki" / "ca.crt", operator) as client:
            client.add_institution("bank-a", "Bank A", "bank", _PAPERS)
            officer = client.add_account("officer", "bank-a", ["officer"])["token"]
        database = f"postgresql://postgres@/postgres?host={home}/postgres"
        yield Served(url, home / "pki" / "ca.crt", operator, officer, database)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if "serving on " in line:
                return str(json.loads(line)["message"]).removeprefix("serving on ")
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise BenchmarkFailed(f"the control plane did not start: {log.read_text()[-500:]}")


def fill(database: str, rows: int) -> None:
    """Applications and referrals of one enterprise to one bank, past triggers and policies."""
    with psycopg.connect(database) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO enterprises (uscc, name, subject, contact_name, contact, created_at, state) "
            "VALUES ('91350100M000100Y43', 'x', 'company', 'x', 'x', now(), 'active') ON CONFLICT DO NOTHING"
        )
        connection.execute(
            """
            INSERT INTO applications (id, kind, enterprise, product, institution, product_class, amount, term_months,
                purpose, repayment, guarantees, open_to_all, basic, flags, state, created_at, submitted_at, version,
                attested_by, attested_name, attested_at)
            SELECT 'ap-' || lpad(to_hex(i), 12, '0'), 'product', '91350100M000100Y43', 'pd-000000000000', 'bank-a',
                'working_capital', 1000000, 12, 'x', 'x', '{credit}', false, %s, '{}', 'pushed',
                now() - i * interval '7 seconds', now() - i * interval '7 seconds', 1, 'x', 'x', now()
            FROM generate_series(1, %s) AS i
            """,
            (json.dumps(_BASIC), rows),
        )
        connection.execute(
            """
            INSERT INTO referrals (id, application, kind, origin, enterprise, enterprise_name, institution, product,
                product_class, region, industry, amount, term_months, state, received_at, late, version, attested_by,
                attested_name, attested_at)
            SELECT 'rf-' || lpad(to_hex(i), 12, '0'), 'ap-' || lpad(to_hex(i), 12, '0'), 'product', 'product',
                '91350100M000100Y43', 'x', 'bank-a', 'pd-000000000000', 'working_capital', '440305', 'C3922', 1000000,
                12, (ARRAY['received', 'accepted', 'followed_up', 'approved', 'granted', 'refused', 'declined'])
                    [1 + i %% 7], now() - i * interval '7 seconds', false, 1, 'x', 'x', now()
            FROM generate_series(1, %s) AS i
            """,
            (rows,),
        )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE applications")
        connection.execute("VACUUM ANALYZE referrals")
        connection.execute("CHECKPOINT")  # what filling in left to be written is no part of the load


def pages(site: Served, rows: int, count: int) -> list[float]:
    """Seconds of a page of fifty of the million, at the beginning, in the middle and near the end, first to last."""
    with psycopg.connect(site.database) as connection:
        found = connection.execute(
            "SELECT id, received_at FROM referrals WHERE institution = 'bank-a' ORDER BY received_at DESC, id DESC"
        ).fetchall()
    order = Order("received", (Referral.received_at, Referral.id), descending=True)  # as the list's own
    times = []
    context = ssl.create_default_context(cafile=str(site.ca))
    headers = {"Authorization": f"Bearer {site.officer}"}
    with httpx.Client(base_url=site.url, verify=context, headers=headers, trust_env=False) as client:
        for place in np.linspace(0, rows - 100, count).astype(int):
            name, at = found[place]
            cursor = order.cursor(Referral(id=name, received_at=at))
            began = time.perf_counter()
            answer = client.get("/v1/referrals", params={"limit": 50, "cursor": cursor})
            times.append(time.perf_counter() - began)
            if answer.status_code != 200 or len(answer.json()["items"]) != 50:
                raise BenchmarkFailed(f"a page was not answered: {answer.status_code} {answer.text[:200]}")
    return times


def offered(site: Served, rate: float, seconds: float, rows: int, result: Any) -> None:
    """The load, in a process of its own: sends `rate` requests a second and puts their latencies on `result`."""
    result.put(uvloop.run(_offer(site, rate, seconds, rows)))


async def _offer(site: Served, rate: float, seconds: float, rows: int) -> tuple[list[float], dict[int, int], float]:
    draw = np.random.default_rng(5)
    shares = np.array([share for share, *_ in MIX]) / sum(share for share, *_ in MIX)
    count = int(rate * seconds)
    kinds = draw.choice(len(MIX), p=shares, size=_WARMING + count).tolist()
    numbers = draw.integers(1, rows, size=_WARMING + count).tolist()
    context = ssl.create_default_context(cafile=str(site.ca))
    # a client drops a resting connection before the server does (5 s), as one that does not want to meet its end
    connector = aiohttp.TCPConnector(ssl=context, limit=64, keepalive_timeout=4)
    latencies: list[float] = []
    statuses: dict[int, int] = {}

    async with aiohttp.ClientSession(
        site.url,
        connector=connector,
        headers={"Authorization": f"Bearer {site.officer}"},
        timeout=aiohttp.ClientTimeout(total=30),
    ) as client:

        async def one(number: int, due: float) -> None:
            _, method, path = MIX[kinds[number]]
            body = _body(path, number) if method == "POST" else None
            async with client.request(method, path.format(n=numbers[number]), json=body) as answer:
                await answer.read()
            latencies.append(time.perf_counter() - due)  # from when it was due, not from when it was sent
            statuses[answer.status] = statuses.get(answer.status, 0) + 1

        # connections and caches are made
        await asyncio.gather(*(one(number, time.perf_counter()) for number in range(_WARMING)))
        latencies.clear()
        statuses.clear()
        began = time.perf_counter()
        tasks = []
        for number in range(count):
            due = began + number / rate
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            tasks.append(asyncio.create_task(one(_WARMING + number, due)))
        await asyncio.gather(*tasks)
    return latencies, statuses, time.perf_counter() - began


def _body(path: str, number: int) -> dict[str, Any]:
    if path.endswith("/messages"):
        return {"text": f"message {number}"}
    return {
        "name": f"流动资金贷 {number}",
        "product_class": "working_capital",
        "summary": "用于备货",
        "amount_min": "100000.00",
        "amount_max": "5000000.00",
        "term_min": 3,
        "term_max": 24,
        "rate_min": "3.65",
        "rate_max": "6.5",
        "guarantees": ["credit"],
        "conditions": "成立满一年",
        "liaison_name": "李",
        "liaison_contact": "0755-1",
    }


def run(applications: int = APPLICATIONS, seconds: float = SECONDS) -> Section:
    tell = say("control_plane")
    section = Section("control_plane", "Control plane under load", "nothing is compared")
    section.note = (
        f"{LOAD_RATE} requests a second at fixed moments for {seconds:g} s, a quarter of them writes with audit; load "
        f"and PostgreSQL share the two cores. {applications:,} applications on record. Wall: the 99th percentile."
    )
    with tempfile.TemporaryDirectory(prefix="creditlab-load-") as name, served(Path(name)) as site:
        tell(f"filling in {applications:,} applications")
        fill(site.database, applications)
        times = pages(site, applications, PAGES)
        case = "a page of fifty of the list, anywhere in it, slowest"
        section.rows.append(Row(case, cpu_seconds=0.0, wall_seconds=max(times), bar=control_bar(case)))
        tell(f"pages: median {np.median(times) * 1000:.1f} ms, slowest {max(times) * 1000:.1f} ms")
        context = multiprocessing.get_context("spawn")
        result = context.Queue()
        load = context.Process(target=offered, args=(site, LOAD_RATE, seconds, applications, result))
        load.start()
        latencies, statuses, took = result.get(timeout=seconds * 4 + 120)
        load.join(30)
    wrong = {status: count for status, count in statuses.items() if status >= 400}
    if wrong:
        raise BenchmarkFailed(f"requests were refused: {wrong}")
    tell(f"{len(latencies) / took:.0f} answers a second: {statuses}")
    for what, share in (("median", 50), ("99th percentile", 99)):
        case = f"mixed requests, {what}"
        wall = float(np.percentile(latencies, share))
        tell(f"{what}: {wall * 1000:.1f} ms")
        section.rows.append(Row(case, cpu_seconds=0.0, wall_seconds=wall, bar=control_bar(case)))
    return section
