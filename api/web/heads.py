"""HTTP/1.1 by httptools, with a bound on what may be held before the parser comes to something.

httptools itself would collect header lines and trailers for as long as somebody sends them. Owns that bound and
nothing else: bodies are counted where they are read (`api.web.limits`).
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST = 64 << 10  # bytes of request line and headers, or of trailers


class BoundedHeads(HttpToolsProtocol):
    """Answers 400 and closes the connection once a head or its trailers run past LONGEST."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._held = 0  # bytes received since a head was complete or a piece of a body came

    def data_received(self, data: bytes) -> None:
        self._held += len(data)
        super().data_received(data)
        if self._held > LONGEST and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_headers_complete(self) -> None:
        self._held = 0
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        self._held = 0

    def on_body(self, body: bytes) -> None:
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._held = 0
        super().on_message_complete()
