"""`LabClient`: the control plane's API for programs of banks, labs and operators.

Synchronous, with the CA pinned. It sends one bearer token and keeps no state; errors of the API arrive as
`LabError` with the code and both texts.
"""

from __future__ import annotations

import ssl
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx

JOB_ENDS = frozenset({"succeeded", "failed", "cancelled", "stopped_by_consent"})


class LabError(Exception):
    """The control plane refused, or could not be reached. `status` is 0 when there was no answer."""

    def __init__(
        self, code: str, message: str, message_zh: str, status: int = 0, problem: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.message_zh, self.status = code, message, message_zh, status
        self.problem = problem or {}


class BadProfile(LabError):
    """The connection settings are incomplete."""

    def __init__(self, message: str, message_zh: str) -> None:
        super().__init__("bad_profile", message, message_zh)


class LabClient:
    """One account's connection. `ca` is the file of the CA that issued the control plane's certificate."""

    def __init__(self, url: str, ca: Path | str, token: str, timeout: float = 30) -> None:
        try:
            context = ssl.create_default_context(cafile=str(ca))
        except OSError as error:
            raise BadProfile(f"the CA file {ca} cannot be read", f"无法读取 CA 证书 {ca}") from error
        self._http = httpx.Client(
            base_url=url,
            verify=context,
            timeout=timeout,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )

    @classmethod
    def from_settings(cls, environment: Mapping[str, str], profile: Path | None = None) -> LabClient:
        """From a profile (TOML: url, ca, token_file; paths relative to it) or CREDITLAB_URL, _CA and _TOKEN."""
        if profile is not None:
            try:
                values = tomllib.loads(profile.read_text())
                url, ca, token_file = (str(values[name]) for name in ("url", "ca", "token_file"))
                token = (profile.parent / token_file).read_text().strip()
            except (OSError, tomllib.TOMLDecodeError) as error:
                raise BadProfile(f"profile {profile}: {error}", f"配置文件 {profile}：{error}") from error
            except KeyError as error:
                raise BadProfile(
                    f"profile {profile}: {error.args[0]} is missing", f"配置文件 {profile} 缺少 {error.args[0]}"
                ) from error
            return cls(url, profile.parent / ca, token)
        missing = [name for name in ("CREDITLAB_URL", "CREDITLAB_CA", "CREDITLAB_TOKEN") if not environment.get(name)]
        if missing:
            raise BadProfile(
                f"set {', '.join(missing)}, or give --profile FILE", f"请设置 {'、'.join(missing)}，或使用 --profile"
            )
        return cls(environment["CREDITLAB_URL"], environment["CREDITLAB_CA"], environment["CREDITLAB_TOKEN"])

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One request; the decoded answer. Raises LabError."""
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise LabError(
                "unreachable",
                f"{self._http.base_url}: {str(error) or type(error).__name__}",
                f"无法连接 {self._http.base_url}：{str(error) or type(error).__name__}",
            ) from error
        if answer.is_success:
            return answer.json() if answer.content else None
        try:
            problem = answer.json()
            code, detail, detail_zh = problem["code"], problem["detail"], problem["detail_zh"]
        except (ValueError, KeyError, TypeError):
            text = f"unexpected answer {answer.status_code}"
            raise LabError("unexpected_answer", text, f"异常应答 {answer.status_code}", answer.status_code) from None
        raise LabError(code, detail, detail_zh, answer.status_code, problem)

    def _get(self, path: str, **params: Any) -> Any:
        return self.call("GET", path, params={k: v for k, v in params.items() if v is not None})

    def _post(self, path: str, body: Any) -> Any:
        return self.call("POST", path, json=body)

    # ---- institutions and accounts

    def whoami(self) -> dict[str, Any]:
        return self._get("/v1/whoami")

    def add_institution(self, id: str, name: str, kind: str) -> dict[str, Any]:
        return self._post("/v1/institutions", {"id": id, "name": name, "kind": kind})

    def institutions(self) -> list[dict[str, Any]]:
        return self._get("/v1/institutions")["items"]

    def add_account(self, name: str, institution: str, roles: Iterable[str]) -> dict[str, Any]:
        """The new account with its token, which is shown this once."""
        return self._post("/v1/accounts", {"name": name, "institution": institution, "roles": list(roles)})

    def nodes(self) -> list[dict[str, Any]]:
        return self._get("/v1/nodes")["items"]

    # ---- consents

    def import_consents(self, source: Path | Iterable[bytes]) -> dict[str, Any]:
        """Sends signed documents, one a line, from a file or an iterable of lines."""

        def chunks() -> Iterator[bytes]:
            if isinstance(source, Path):
                with source.open("rb") as file:
                    while chunk := file.read(1 << 18):
                        yield chunk
            else:
                for line in source:
                    yield line.rstrip(b"\n") + b"\n"

        return self.call(
            "POST",
            "/v1/consents/import",
            content=chunks(),
            headers={"Content-Type": "application/x-ndjson"},
            timeout=600,
        )

    def consents(self, enterprise: str) -> list[dict[str, Any]]:
        return self._get("/v1/consents", enterprise=enterprise)["items"]

    def consent_counts(self) -> dict[str, Any]:
        return self._get("/v1/consents/counts")

    # ---- requests and events

    def request_consent(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Asks one enterprise for its consent to the caller's institution."""
        return self._post("/v1/consent-requests", dict(request))

    def request_consents(self, file: Path) -> dict[str, Any]:
        """A file of many requests: `.csv` with a header, else one JSON object a line."""
        kind = "text/csv" if file.suffix == ".csv" else "application/x-ndjson"
        headers = {"Content-Type": kind}
        return self.call("POST", "/v1/consent-requests/import", content=file.read_bytes(), headers=headers, timeout=600)

    def consent_requests(self, **filters: Any) -> list[dict[str, Any]]:
        return self._get("/v1/consent-requests", **filters)["items"]

    def consent_events(self, after: int | None = None, wait: float = 0) -> dict[str, Any]:
        """Signed events that concern the caller's institution, after a position or the last acknowledged one."""
        params = {"wait": wait} if after is None else {"wait": wait, "after": after}
        return self.call("GET", "/v1/consent-events", params=params, timeout=wait + 30)

    def ack_consent_events(self, position: int) -> dict[str, Any]:
        return self._post("/v1/consent-events/ack", {"position": position})

    # ---- jobs

    def propose_job(self, proposal: Mapping[str, Any]) -> dict[str, Any]:
        return self._post("/v1/jobs", dict(proposal))

    def jobs(self, state: str | None = None) -> list[dict[str, Any]]:
        return self._get("/v1/jobs", state=state)["items"]

    def job(self, job_id: str) -> dict[str, Any]:
        return self._get(f"/v1/jobs/{job_id}")

    def approve_job(self, job_id: str, reason: str, decision: str = "approve") -> dict[str, Any]:
        return self._post(f"/v1/jobs/{job_id}/approvals", {"decision": decision, "reason": reason})

    def cancel_job(self, job_id: str, reason: str) -> dict[str, Any]:
        return self._post(f"/v1/jobs/{job_id}/cancel", {"reason": reason})

    def retry_job(self, job_id: str, reason: str) -> dict[str, Any]:
        return self._post(f"/v1/jobs/{job_id}/retry", {"reason": reason})

    def job_events(self, job_id: str, after: int = 0, wait: float = 0) -> dict[str, Any]:
        return self.call("GET", f"/v1/jobs/{job_id}/events", params={"after": after, "wait": wait}, timeout=wait + 30)

    def follow_job(self, job_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Every event of the job as it comes, until the job has ended."""
        while True:
            page = self.job_events(job_id, after, wait=20)
            yield from page["events"]
            after = page["last_seq"]
            if page["state"] in JOB_ENDS and not page["events"]:
                return

    def wait_job(self, job_id: str, seconds: float) -> dict[str, Any]:
        """The job once it has ended. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        after = 0
        while True:
            page = self.job_events(job_id, after, wait=max(0.0, min(20.0, deadline - time.monotonic())))
            after = page["last_seq"]
            if page["state"] in JOB_ENDS:
                return self.job(job_id)
            if time.monotonic() >= deadline:
                raise TimeoutError(f"job {job_id} is {page['state']} after {seconds:.0f} s")

    def report(self, job_id: str) -> dict[str, Any]:
        return self._get(f"/v1/jobs/{job_id}/report")

    # ---- releases and scores

    def request_release(self, job_id: str, reason: str) -> dict[str, Any]:
        return self._post("/v1/releases", {"job_id": job_id, "reason": reason})

    def releases(self, state: str | None = None) -> list[dict[str, Any]]:
        return self._get("/v1/releases", state=state)["items"]

    def release(self, release_id: str) -> dict[str, Any]:
        return self._get(f"/v1/releases/{release_id}")

    def review_release(self, release_id: str, decision: str, comment: str) -> dict[str, Any]:
        return self._post(f"/v1/releases/{release_id}/reviews", {"decision": decision, "comment": comment})

    def approve_release(self, release_id: str, reason: str) -> dict[str, Any]:
        return self._post(f"/v1/releases/{release_id}/approve", {"reason": reason})

    def veto_release(self, release_id: str, reason: str) -> dict[str, Any]:
        return self._post(f"/v1/releases/{release_id}/veto", {"reason": reason})

    def score(
        self, enterprise: str, reason: str, *, job_id: str | None = None, release_sha256: str | None = None
    ) -> dict[str, Any]:
        """Score of one enterprise by the released model of `job_id` or with `release_sha256`."""
        model = {"job_id": job_id} if job_id is not None else {"release_sha256": release_sha256}
        return self._post("/v1/scores", {**model, "enterprise": enterprise, "reason": reason})

    def usage(self, enterprise: str | None = None) -> list[dict[str, Any]]:
        return self._get("/v1/usage", enterprise=enterprise)["items"]

    def audit(
        self, object_kind: str | None = None, object_id: str | None = None, after: int = 0, limit: int = 500
    ) -> list[dict[str, Any]]:
        return self._get("/v1/audit", object_kind=object_kind, object_id=object_id, after=after, limit=limit)["items"]
