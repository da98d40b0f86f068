"""Meeting before a link is made: both engines know that the other is about to listen.

Owns one plain TCP exchange of a byte through the bridges. The libraries' own links try once, mark the peer as dead
when it was not yet there, and look again three seconds later; and they name an absent peer only after all retries.
"""

from __future__ import annotations

import contextlib
import socket
import time

from .errors import EngineError
from .ports import MEET, address, other

_PAUSE = 0.05


def meet(party: str, offset: int, seconds: float) -> None:
    """Return when both engines are here. Raises EngineError(peer_absent | port_taken)."""
    until = time.monotonic() + seconds
    host, port = address(party, MEET, offset).split(":")
    try:
        listener = socket.create_server((host, int(port)))
    except OSError as error:
        raise EngineError("port_taken", str(port)) from error
    with listener:
        if party == "bank":
            _call(party, offset, until)
        else:
            _answer(listener, until)


def _call(party: str, offset: int, until: float) -> None:
    host, port = address(other(party), MEET, offset).split(":")
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=left) as line:
            line.sendall(b"?")
            if line.recv(1):
                return
        time.sleep(_PAUSE)
    raise EngineError("peer_absent")


def _answer(listener: socket.socket, until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        listener.settimeout(left)
        with contextlib.suppress(OSError):
            line, _ = listener.accept()
            with line:
                line.settimeout(left)
                if line.recv(1):
                    line.sendall(b"!")
                    return
    raise EngineError("peer_absent")
