"""A person at a browser: a fresh context with a virtual authenticator, and the steps that pages ask for."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, expect

from api.auth import Caller, Role
from api.consents import requests
from api.db import SYSTEM
from api.enterprises import repository, sessions
from api.institutions.repository import account_named
from consent.times import stamp
from features.uscc import simulate
from tests.api.world import World

_CODES = iter(simulate(np.random.default_rng(3), 200))
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}


def enrolled(world: World, name: str = "粤海精密制造有限公司", person: str = "王敏") -> dict[str, Any]:
    """An enterprise on record: its USCC, first person and one-time code."""
    body = {"uscc": next(_CODES), "name": name, "contact_name": person, "contact": "0000-0000000"}
    return world.operator.call("POST", "/v1/enterprises", json=body)


def asked(world: World, uscc: str, purpose: str = "underwriting_score", **more: Any) -> str:
    """A request of bank-a to the enterprise; returns the consent's number."""
    now = datetime.now(UTC)
    with world.db.read(SYSTEM) as session:
        row = account_named(session, "risk")
    assert row is not None
    caller = Caller(row.id, row.name, row.institution, frozenset({Role.RISK}))
    return requests.ask(
        world.control,
        caller,
        enterprise=uscc,
        provider="lab",
        purpose=purpose,
        valid_from=stamp(now - timedelta(minutes=1)),
        valid_until=stamp(now + timedelta(days=180)),
        **more,
    )


def on_record(world: World, name: str = "粤海精密制造有限公司", person: str = "王敏") -> tuple[str, str]:
    """An enterprise whose person has enrolled already: its USCC and the person's number, for `Visit.sign_in`."""
    uscc = next(_CODES)
    with world.db.unit(SYSTEM) as unit:
        values = {"name": name, "subject": "company", "contact_name": person, "contact": "0000-0000000"}
        row = repository.Enterprise(uscc=uscc, created_at=unit.now, **values)
        unit.create(row, "test", "test", state="invited")
        unit.transition(row, "active", "test", "test")
        rights = ["view", "decide", "withdraw", "manage"]
        who = repository.Person(
            id=f"ep-{secrets.token_hex(6)}", enterprise=uscc, name=person, rights=rights, created_at=unit.now
        )
        unit.create(who, "test", "test", state="invited")
        unit.transition(who, "active", "test", "test")
    return uscc, who.id


class Visit:
    def __init__(
        self,
        world: World,
        browser: Browser,
        *,
        size: dict[str, int] = PHONE,
        verified: bool = True,
        language: str | None = None,
    ) -> None:
        self.world = world
        self.context = browser.new_context(viewport=size, locale="zh-CN", timezone_id="Asia/Shanghai")
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.requested: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.cdp = self.context.new_cdp_session(self.page)
        self.cdp.send("WebAuthn.enable")
        self.authenticator = self.cdp.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2",
                    "transport": "internal",
                    "hasResidentKey": True,
                    "hasUserVerification": True,
                    "isUserVerified": verified,
                    "automaticPresenceSimulation": True,
                }
            },
        )["authenticatorId"]
        if language:
            self.go(f"/portal/login?lang={language}")

    def close(self) -> None:
        self.context.close()

    # ---- steps

    def go(self, path: str) -> Page:
        self.page.goto(self.world.url + path)
        return self.page

    def sign_in(self, person_id: str) -> Visit:
        """A session as a passkey opens one, without the ceremony: for tests of what comes after it."""
        with self.world.db.unit(SYSTEM) as unit:
            row = repository.person(unit.session, person_id)
            assert row is not None
            token = sessions.open_session(unit, self.world.control, row, sessions.PORTAL, "test")
        cookie = {"name": sessions.COOKIE, "value": token, "url": self.world.url}
        self.context.add_cookies([{**cookie, "secure": True, "httpOnly": True, "sameSite": "Strict"}])
        return self

    def status(self, path: str) -> int:
        """What a page answers, without showing it."""
        return self.page.request.get(self.world.url + path, ignore_https_errors=True).status

    def enrol(self, uscc: str, code: str) -> Visit:
        self.go("/portal/enrol")
        self.page.fill("#uscc", uscc)
        self.page.fill("#code", code)
        self.page.click("main button[type=submit]")
        self.page.click("#register")
        self.page.wait_for_url("**/portal/")
        return self

    def login(self) -> Visit:
        self.go("/portal/login")
        self.page.click("#login")
        self.page.wait_for_url("**/portal/")
        return self

    def logout(self) -> Visit:
        self.page.click("header form button")
        self.page.wait_for_url("**/portal/login")
        return self

    def answer(self, consent_id: str, answer: str = "consent") -> int:
        """Reads, chooses, checks, signs; returns the receipt's place in the feed."""
        self.go(f"/portal/requests/{consent_id}")
        self.page.check(f"input[value={answer}]")
        self.page.click("main button[type=submit]")
        self.page.click("#sign")
        return self.receipt()

    def act(self, seq: int, button: str) -> int:
        """Presses a button of a consent's page; returns the receipt's place."""
        self.go(f"/portal/consents/{seq}")
        self.page.click(f"#{button}")
        return self.receipt()

    def receipt(self) -> int:
        self.page.wait_for_url("**/portal/receipts/*")
        return int(self.page.url.rpartition("/")[2])

    def download(self, selector: str) -> bytes:
        with self.page.expect_download() as found:
            self.page.click(selector)
        path = found.value.path()
        return path.read_bytes()

    def says(self, selector: str, text: str) -> None:
        expect(self.page.locator(selector)).to_contain_text(text)

    # ---- as a script on the page would

    def post(self, path: str, body: Any = None, **changes: Any) -> tuple[int, dict[str, Any]]:
        """A script's POST with the page's cookie and CSRF token; `changes` replace headers (None leaves one out)."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Origin": self.world.url,
            "X-CSRF-Token": self.page.evaluate("document.querySelector('meta[name=csrf]')?.content ?? ''"),
            **changes,
        }
        answer = self.context.request.post(
            self.world.url + path,
            data=json.dumps(body or {}),
            headers={name: value for name, value in headers.items() if value is not None},
            ignore_https_errors=True,
        )
        return answer.status, answer.json()

    def assertion(self, options: dict[str, Any]) -> dict[str, Any]:
        """What the authenticator of this browser gives for `options`."""
        return self.page.evaluate("""async (options) => { const made = await get(options); return made; }""", options)
