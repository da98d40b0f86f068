"""An enterprise's person at the portal without a passkey: session and one-time codes, over HTTP as its forms are."""

from __future__ import annotations

import base64
import html
import re

import httpx

from tests.support.lab import Lab


class ByCode:
    """Signed in by code. Every act uses up a code that the operator issues."""

    def __init__(self, lab: Lab, uscc: str) -> None:
        self.lab, self.uscc = lab, uscc
        operator = lab.clients["operator"]
        body = {"uscc": uscc, "name": "粤海精密制造有限公司", "contact_name": "王敏", "contact": "0000-0000000"}
        self.person = operator.call("POST", "/v1/enterprises", json=body)["person"]["id"]
        origin = f"https://localhost:{lab.control.port}"
        self.http = httpx.Client(
            base_url=lab.control.url, verify=str(lab.control.ca), timeout=60, headers={"origin": origin}
        )
        self._post("/portal/login/code", uscc=uscc, code=self.code("login"))
        found = re.search(r'<meta name="csrf" content="([^"]+)">', self._page("/portal/usage/training"))
        assert found is not None
        self.csrf = html.unescape(found.group(1))

    def code(self, use: str = "confirm") -> str:
        body = {"person": self.person, "use": use, "reason": "the device has no passkeys"}
        return self.lab.clients["operator"].call("POST", f"/v1/enterprises/{self.uscc}/codes", json=body)["code"]

    def _page(self, path: str) -> str:
        answer = self.http.get(path)
        answer.raise_for_status()
        return answer.text

    def _post(self, path: str, **fields: str) -> httpx.Response:
        answer = self.http.post(path, data=fields)
        assert answer.status_code in (200, 303), answer.text
        return answer

    def consent(self, bank: str, purpose: str = "joint_training") -> str:
        """Consents to a request of the bank; the consent's number."""
        request = {"enterprise": self.uscc, "provider": "lab", "purpose": purpose, "valid_days": 30}
        asked = self.lab.clients[f"risk-{bank}"].request_consent(request)
        fields = {"act": "consent", "consent": asked["consent_id"], "csrf": self.csrf, "code": self.code()}
        self._post("/portal/sign/code", **fields)
        return asked["consent_id"]

    def ask(self) -> tuple[str, bytes]:
        """Asks how joint training used its data: the page, and the file of proofs on it."""
        page = self._post("/portal/usage/training/code", csrf=self.csrf, code=self.code()).text
        found = re.search(r"data:application/json;base64,([A-Za-z0-9+/=]+)", html.unescape(page))
        assert found is not None, page
        return page, base64.b64decode(found.group(1))
