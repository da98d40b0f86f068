"""What may cross between the two engines, and nothing else.

Owns the fed layer's transport: every message from the peer is loaded by an unpickler that knows a short list of data
classes, and an error that is sent to the peer is reduced to a code. It never loads anything else and never sends an
exception, because exceptions of numeric libraries quote raw rows.

Why this is enough. SecretFlow's fed layer ships *results* only: both parties run the same driver from their own
installed code, a function is called only in the process of the party that owns it (`FedCallHolder.internal_remote`),
and what travels is its return value. So no message ever needs to name a function. Upstream loads messages behind a
black-list under which an `exec` payload still runs; `serializing_allowed_list` is not implemented.
"""

from __future__ import annotations

import io
import pickle  # loading goes through Unpickler below only; the fed layer's own format is pickle
from typing import Any

import spu.libspu.link as link

from .devices import BrpcLinkProxy, FedLocalError, FedRemoteError, fed_api
from .errors import EngineError, code_of, from_peer

# Exactly the classes the recipes' results consist of. Plain containers, numbers, text and bytes need no entry.
ALLOWED: dict[str, frozenset[str]] = {
    "numpy": frozenset({"ndarray", "dtype"}),
    "numpy.core.multiarray": frozenset({"_reconstruct"}),
    "numpy.core.numeric": frozenset({"_frombuffer"}),
    "heu.numpy": frozenset({"CiphertextArray"}),
    "heu.phe": frozenset({"PublicKey"}),
}

_FAILURE = "creditlab-failure"  # marks a redacted error among the payloads


def connect(description: Any, rank: int) -> Any:
    """A link to the peer. Raises EngineError(port_taken | peer_absent)."""
    try:
        return link.create_brpc(description, rank)
    except RuntimeError as error:
        code = "port_taken" if "server failed start" in str(error) else "peer_absent"
        raise EngineError(code) from error


class Unpickler(pickle.Unpickler):
    """Loads ALLOWED and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in ALLOWED.get(module, ()):
            raise EngineError("message_refused", f"{module}.{name}")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise EngineError("message_refused", "persistent id")


def loads(data: bytes) -> Any:
    """The value of a message. Raises EngineError(message_refused) for anything outside the list or malformed."""
    try:
        return Unpickler(io.BytesIO(data)).load()
    except EngineError:
        raise
    except Exception as error:  # a malformed pickle raises whatever it likes
        raise EngineError("message_refused", type(error).__name__) from None


def cause(error: BaseException) -> BaseException:
    """The error inside the fed layer's wrappers."""
    while isinstance(error, (FedLocalError, FedRemoteError)):
        error = error.cause()
    return error


class Proxy(BrpcLinkProxy):  # type: ignore[misc]
    """The fed layer's transport with loading white-listed and errors redacted."""

    def start(self) -> None:
        self._linker = connect(self._desc, self._rank)

    def send(self, dest_party: str, data: Any, seq_id: Any) -> bool:
        if isinstance(data, FedRemoteError):
            data = (_FAILURE, code_of(cause(data)))
        message = pickle.dumps({"seq_id": seq_id, "payload": data, "job": self._job_name}, protocol=5)
        self._linker.send_async(self._parties_rank[dest_party], message)
        return True

    def recv(self, src_party: str, seq_id: Any) -> Any:
        rank = self._parties_rank[src_party]
        while seq_id not in self._all_data:
            try:
                raw = self._linker.recv(rank)
            except Exception as error:
                raise EngineError("peer_silent", type(error).__name__) from None
            message = loads(raw)
            if not isinstance(message, dict) or set(message) != {"seq_id", "payload", "job"}:
                raise EngineError("message_refused", "not a fed message")
            if message["job"] == self._job_name:
                self._all_data[message["seq_id"]] = message["payload"]
        data = self._all_data.pop(seq_id)
        if isinstance(data, tuple) and len(data) == 2 and data[0] == _FAILURE:
            return FedRemoteError(src_party, from_peer(str(data[1])))
        return data


def install() -> None:
    """Make the fed layer use this transport. Call before `secretflow.init`."""
    fed_api.BrpcLinkProxy = Proxy
    fed_api.CROSS_SILO_COMM_BACKENDS[:] = ["brpc_link"]
