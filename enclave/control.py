"""The node's line to the control plane: outbound HTTPS only, one pinned CA, every wait bounded."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from consent.signed import Document
from enclave.endings import JobEnded
from federated.relay.link import Cause

WAIT_SECONDS = 20
UNREACHABLE = "control_plane_unreachable"  # which `enclave.gate` and `enclave.use_log` bear for the lease


def unreachable(message: str, message_zh: str) -> JobEnded:
    return JobEnded(Cause("control_plane_unreachable", message, message_zh))


def why(error: httpx.HTTPStatusError) -> tuple[str, str, str]:
    """The control plane's own reason for a refusal, where its answer gives one: code, message, message in Chinese."""
    try:
        problem = error.response.json()
        return str(problem["code"]), str(problem["detail"]), str(problem["detail_zh"])
    except (ValueError, KeyError, TypeError):
        status = str(error.response.status_code)
        return status, "the control plane refused it", "控制平面拒绝"


class Control:
    """What a node asks and tells. Raises httpx.HTTPError when the control plane does not answer or refuses."""

    def __init__(self, url: str, ca: Path, token: str) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        self._http = httpx.AsyncClient(
            base_url=url,
            verify=context,
            timeout=30,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def _call(self, method: str, path: str, **options: object) -> dict:
        answer = await self._http.request(method, path, **options)  # type: ignore[arg-type]
        answer.raise_for_status()
        return answer.json() if answer.content else {}

    async def register(self, description: dict) -> None:
        await self._call("PUT", "/v1/nodes/self", json=description)

    async def feed(self, after: int) -> dict:
        """{head, events} after a sequence number. Raises JobEnded: without the feed no gate can open."""
        try:
            return await self._call("GET", "/v1/feed", params={"after": after, "limit": 5000})
        except httpx.HTTPError as error:
            raise unreachable(
                "the control plane did not give the consent feed; no data is used without it",
                "控制平面未返回授权事件，无授权不得使用数据",
            ) from error

    async def keyring(self) -> bytes:
        """The platform's keyring, in the one form in which it is verified. Raises JobEnded like `feed`."""
        try:
            answer = await self._http.get("/v1/keyring")
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise unreachable(
                "the control plane did not give its keyring; nothing by an unknown key is taken without it",
                "控制平面未返回密钥环，无法核验未知密钥的签名",
            ) from error
        return answer.content

    async def work(self, feed: int, wait: float = WAIT_SECONDS) -> tuple[list[dict], int]:
        """What waits for this node, and how far the feed reaches; answers when there is work or news after `feed`."""
        params = {"wait": wait, "feed": feed}
        answer = await self._call("GET", "/v1/node/work", params=params, timeout=wait + 15)
        return answer["items"], answer["feed_head"]

    async def log_size(self) -> dict:
        """{log_id, size} of this node's last head in the platform's ledger."""
        return await self._call("GET", "/v1/node/log")

    async def enter_head(self, job_id: str, head: Document, path: list[str]) -> dict:
        """{head, job}: ledger records of this node's head and of the job (`enclave.use_log`)."""
        return await self._call("PUT", f"/v1/node/jobs/{job_id}/head", json={"head": head, "path": path})

    async def releases(self) -> list[dict]:
        """Releases of this node's jobs: {release_id, job_id, sha256, state}."""
        return (await self._call("GET", "/v1/node/releases"))["items"]

    async def share(self, release_id: str, share: float, seq: int) -> None:
        await self._call("POST", f"/v1/node/releases/{release_id}/share", json={"share": share, "seq": seq})

    async def impact_answer(self, question_id: str, answer: dict) -> None:
        await self._call("POST", f"/v1/node/impact/{question_id}", json=answer)

    async def usage_answer(self, question_id: str, answer: dict) -> None:
        await self._call("POST", f"/v1/node/usage/{question_id}", json=answer)

    async def job_events(self, job_id: str, events: list[dict]) -> None:
        await self._call("POST", f"/v1/node/jobs/{job_id}/events", json={"events": events})

    async def report(self, job_id: str, report: dict, model_sha256: str) -> None:
        await self._call("PUT", f"/v1/node/jobs/{job_id}/report", json={"report": report, "model_sha256": model_sha256})

    async def score_answer(self, permit_id: str, answer: dict) -> None:
        await self._call("POST", f"/v1/node/scores/{permit_id}", json=answer)

    async def data_answer(self, permit_id: str, answer: dict) -> None:
        await self._call("POST", f"/v1/node/data/{permit_id}", json=answer)

    async def release_state(self, release_id: str, state: dict) -> None:
        await self._call("POST", f"/v1/node/releases/{release_id}", json=state)
