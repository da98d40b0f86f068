"""The connection of a client: profile, pinned CA, token, language, pages, and writes that are sent again.

Knows no route. A write carries one Idempotency-Key for all its attempts, so that it has its effect once.
"""

from __future__ import annotations

import ssl
import time
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

import httpx

# seconds between the attempts of a write whose answer was lost
_PAUSES = (0.2, 0.8, 2.0)

Language = Literal["en", "zh"]


class LabError(Exception):
    """The control plane refused, or could not be reached.

    `code` is stable, `message` speaks the client's language and `message_zh` Chinese; `problem` is the whole problem
    document (RFC 9457). `status` is 0 when there was no answer.
    """

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


class Connection:
    """One account's connection. `ca` is the file of the CA that issued the control plane's certificate."""

    def __init__(self, url: str, ca: Path | str, token: str, timeout: float = 30, language: Language = "en") -> None:
        """Raises BadProfile for a CA that cannot be read or a language that is not spoken."""
        if language not in get_args(Language):
            known = ", ".join(get_args(Language))
            raise BadProfile(f"language {language!r} is not spoken: {known}", f"不支持语言 {language!r}：{known}")
        try:
            context = ssl.create_default_context(cafile=str(ca))
        except OSError as error:
            raise BadProfile(f"the CA file {ca} cannot be read", f"无法读取 CA 证书 {ca}") from error
        self._http = httpx.Client(
            base_url=url,
            verify=context,
            timeout=timeout,
            headers={"Authorization": f"Bearer {token}", "Accept-Language": language},
            trust_env=False,
        )

    @classmethod
    def from_settings(cls, environment: Mapping[str, str], profile: Path | None = None) -> Self:
        """From a profile (TOML: url, ca, token_file, language; paths relative to it), else from the environment.

        There it is CREDITLAB_URL, _CA, _TOKEN and _LANGUAGE. The language may be left out.
        """
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
            return cls(url, profile.parent / ca, token, language=values.get("language", "en"))
        missing = [name for name in ("CREDITLAB_URL", "CREDITLAB_CA", "CREDITLAB_TOKEN") if not environment.get(name)]
        if missing:
            raise BadProfile(
                f"set {', '.join(missing)}, or give --profile FILE", f"请设置 {'、'.join(missing)}，或使用 --profile"
            )
        url, ca, token = (environment[f"CREDITLAB_{name}"] for name in ("URL", "CA", "TOKEN"))
        return cls(url, ca, token, language=environment.get("CREDITLAB_LANGUAGE") or "en")  # type: ignore[arg-type]

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One request; the decoded answer. Raises LabError."""
        answer = self._answer(method, path, **options)
        return answer.json() if answer.content else None

    def text(self, path: str, **params: Any) -> str:
        """An answer that is no JSON: a table or lines. Raises LabError."""
        return self._answer("GET", path, params={k: v for k, v in params.items() if v is not None}).text

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise LabError(
                "unreachable",
                f"{self._http.base_url}: {str(error) or type(error).__name__}",
                f"无法连接 {self._http.base_url}：{str(error) or type(error).__name__}",
            ) from error
        if answer.is_success:
            return answer
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
        return self._write("POST", path, body)

    def _put(self, path: str, body: Any, version: int | None = None) -> Any:
        """With `version`, only while the object is still that one: else LabError of status 412."""
        return self._write("PUT", path, body, {} if version is None else {"If-Match": f'"{version}"'})

    def _write(self, method: str, path: str, body: Any, more: Mapping[str, str] | None = None) -> Any:
        """Sent again when the answer was lost: under one Idempotency-Key it has its effect once."""
        headers = {"Idempotency-Key": str(uuid.uuid4()), **(more or {})}
        for pause in (*_PAUSES, None):
            try:
                return self.call(method, path, json=body, headers=headers)
            except LabError as error:
                lost = error.status in (0, 503) or error.code == "idempotency_in_progress"
                if not lost or pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError

    def _pages(self, path: str, **params: Any) -> Iterator[Any]:
        """The items of a paged list, page after page."""
        cursor = None
        while True:
            page = self._get(path, cursor=cursor, **params)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return
