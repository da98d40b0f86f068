"""Secret-shared arithmetic between the two parties: SecretFlow's SPU runtime, driven without its device layer.

Owns one SPU runtime, the making and opening of shares, and the compiling of programs. Each party compiles each
program from its own installed code, and both check that they run the same one. SecretFlow's SPU device lets the first
party compile and send bytecode which the other executes, and moves pickled shape trees; here only shares (bytes)
travel.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import spu
import spu.libspu as libspu
import spu.utils.frontend as frontend

from .errors import EngineError
from .ports import PARTIES, SPU
from .protocol import FIELD
from .session import Session


@dataclass(frozen=True)
class Shared:
    """A matrix of which each party holds a share."""

    name: str
    shape: tuple[int, ...]


class Spu:
    """Two parties' runtime. All methods are called by both parties in the same order."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._rank = PARTIES.index(session.party)
        config = spu.RuntimeConfig()
        config.protocol = spu.api.parse_protocol_kind(session.ticket["protocol"]["spu"])
        config.field = spu.api.parse_field_type(FIELD)
        # The default, a Taylor power, is 3 % off at x = 4.
        config.fxp_exp_mode = libspu.RuntimeConfig.ExpMode.EXP_PADE
        self._link = session.link(SPU)
        self._runtime = spu.Runtime(self._link, config)
        self._io = spu.Io(len(PARTIES), config)
        self._names = (f"v{number}" for number in itertools.count())
        self._programs: dict[Any, bytes] = {}

    def share(self, owner: Any, values: np.ndarray | None, shape: tuple[int, ...]) -> Shared:
        """Split `values` (the owner's; ignored at the peer) into two shares."""
        session, name = self._session, next(self._names)
        mine: list[Any] = []
        if owner == session.own:
            parts = self._io.make_shares(np.asarray(values, dtype=np.float32), spu.Visibility.VIS_SECRET)
            mine.append(parts[self._rank])
            theirs = parts[1 - self._rank]
            told = (bytes(theirs.meta), [bytes(chunk) for chunk in theirs.share_chunks])
        else:
            told = None
        peer = session.lab if owner == session.bank else session.bank
        answer = session.keep(peer, peer(_received)(owner(lambda: told)().to(peer)))
        if owner != session.own:
            share = libspu.Share()
            share.meta, share.share_chunks = answer
            mine.append(share)
        self._runtime.set_var(name, mine[0])
        return Shared(name, shape)

    def run(self, function: Callable[..., Any], *inputs: Shared, **static: Any) -> list[Shared]:
        """Run a jax function on shares. `static` arguments are public constants both parties pass alike."""
        shapes = [jax.ShapeDtypeStruct(one.shape, np.float32) for one in inputs]
        key = (function.__qualname__, tuple(one.shape for one in inputs), tuple(sorted(static.items())))
        executable, output = frontend.compile(
            frontend.Kind.JAX,
            lambda *arrays: function(*arrays, **static),
            shapes,
            {},
            [one.name for one in inputs],
            [spu.Visibility.VIS_SECRET] * len(inputs),
            lambda flat: [next(self._names) for _ in flat],
            static_argnums=(),
            static_argnames=None,
            copts=spu.CompilerOptions(),
        )
        digest = hashlib.sha256(executable.code).digest()
        if self._programs.get(key) != digest:
            bank, lab = self._session.both(digest.hex())
            if bank != lab:
                raise EngineError("engine_error", "the parties compiled different programs")
            self._programs[key] = digest
        self._guard(lambda: self._runtime.run(executable))
        leaves = jax.tree_util.tree_leaves(output)
        return [Shared(name, tuple(leaf.shape)) for name, leaf in zip(executable.output_names, leaves)]

    def open(self, owner: Any, value: Shared) -> np.ndarray | None:
        """The value in clear at `owner`, None at the peer."""
        session = self._session
        share = self._runtime.get_var(value.name)
        told = (bytes(share.meta), [bytes(chunk) for chunk in share.share_chunks])
        peer = session.lab if owner == session.bank else session.bank

        def rebuild(answer: tuple[bytes, list[bytes]]) -> np.ndarray:
            other = libspu.Share()
            other.meta, other.share_chunks = answer
            pair = [share, other] if self._rank == 0 else [other, share]
            return np.asarray(self._io.reconstruct(pair), dtype=np.float64)

        return session.keep(owner, owner(rebuild)(peer(lambda: told)().to(owner)))

    def forget(self, *values: Shared) -> None:
        for value in values:
            self._runtime.del_var(value.name)

    def close(self) -> None:
        self._link.stop_link()

    @staticmethod
    def _guard(action: Callable[[], Any]) -> Any:
        try:
            return action()
        except RuntimeError as error:
            # The runtime's own messages speak of links and time-outs only when the peer is gone.
            raise EngineError("peer_silent", type(error).__name__) from error


def _received(answer: Any) -> Any:
    return answer
