"""How long a request's head may be: one that never ends is cut off, one that is long enough for anybody is not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from api.web.heads import LONGEST, BoundedHeads


async def _counts(scope: Any, receive: Any, send: Any) -> None:
    """Answers with how many bytes the body had."""
    if scope["type"] != "http":
        return
    total, more = 0, True
    while more:
        message = await receive()
        total, more = total + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
    await send({"type": "http.response.body", "body": b"%8d" % total})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(_counts, http=BoundedHeads, lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def _said(port: int, *parts: bytes) -> bytes:
    """What is answered, and that the connection is closed or at rest afterwards."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(0.002)
            return connection.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            return connection.recv(65536) if connection.fileno() >= 0 else b""


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


def test_a_long_head_and_a_long_body_are_taken(port: int) -> None:
    body = b"x" * (3 << 20)
    cookie = b"Cookie: " + b"c" * (LONGEST // 2) + b"\r\n"
    head = HEAD + cookie + b"Content-Length: %d\r\n\r\n" % len(body)
    assert _said(port, head + body).endswith(b"%8d" % len(body))
    chunks = b"".join(b"1\r\nx\r\n" for _ in range(50_000))
    assert _said(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n").endswith(b"   50000")


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (HEAD, b"X-%d: " + b"y" * 4096 + b"\r\n"),
        (HEAD + b"X-Long: ", b"z" * 4096),
        (b"GET /", b"a" * 4096),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X-Trailer: " + b"t" * 4096 + b"\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"e" * 4096),
    ],
    ids=["headers", "one header", "address", "trailers", "chunk extension"],
)
def test_what_never_comes_to_an_end_is_cut_off(port: int, begin: bytes, piece: bytes) -> None:
    pieces = [piece.replace(b"%d", str(i).encode()) for i in range(2 * LONGEST // len(piece))]
    answer = _said(port, begin, *pieces)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), answer[:100]
