"""Between two rounds of a long phase: news of an ended consent send the worker back to the gate (PIPL §15)."""

from __future__ import annotations

import json
import socket
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.channel import Channel, ConsentChanged, Stopped, encode_control
from models.learners import Column, make
from models.recipes import resolve
from tests.models.conftest import zone
from tests.models.support import Node, sides


class Changing(Node):
    """Says once, right after leave to begin `at`, that a consent has ended; the next gate names who is to leave."""

    at = "fit"
    gone: tuple[str, ...] = ()

    def serve(self, sock: socket.socket, task: dict[str, Any]) -> None:
        super().serve(_Told(sock, self), task)  # type: ignore[arg-type]


class _Told:
    def __init__(self, sock: socket.socket, node: Changing) -> None:
        self._sock, self._node, self._said = sock, node, False

    def recv(self, size: int) -> bytes:
        return self._sock.recv(size)

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)
        if not self._said and f'"proceed","phase":"{self._node.at}"'.encode() in data:
            self._said = True
            self._node.exclude = {phase: list(self._node.gone) for phase in (self._node.at, "evaluate")}
            self._sock.sendall(encode_control({"type": "changed"}))


def common(count: int) -> tuple[str, ...]:
    bank, lab = (set(side.ids) for side in sides("sba_2003_2006"))
    return tuple(sorted(bank & lab)[:count])


@pytest.mark.parametrize("recipe", ["boosting", "logistic"])
@pytest.mark.parametrize("at", ["fit", "evaluate"])
def test_who_withdraws_in_the_middle_of_a_phase_is_in_no_model(
    recipe: str, at: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Changing, "at", at)
    monkeypatch.setattr(Changing, "gone", common(900))
    monkeypatch.setattr("tests.models.support.Node", Changing)
    small = {"rounds": 5} if recipe == "boosting" else {}
    code, node, _ = zone(tmp_path, "sba_2003_2006", {"name": recipe, "params": small})
    assert code == 0, node.of("error")
    asked = [message["phase"] for message in node.of("gate")]
    assert asked == {"fit": ["open", "screen", "fit", "fit", "evaluate"],
                     "evaluate": ["open", "screen", "fit", "evaluate", "evaluate"]}[at]  # fmt: skip
    assert json.loads(node.outputs["evaluation.json"])["cohort"]["intersection"] == 13_600 - 900


def pair() -> tuple[socket.socket, Channel]:
    ours, theirs = socket.socketpair()
    return ours, Channel(theirs)


def test_a_boosting_fit_is_left_between_two_trees() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"bank.x": rng.normal(size=400)})
    seen: list[int] = []

    def each_round() -> None:
        seen.append(len(seen))
        if len(seen) == 3:
            raise ConsentChanged("fit")

    learner = make(resolve({"name": "boosting", "params": {"rounds": 50}}), [Column("bank", "x", "numeric")])
    with pytest.raises(ConsentChanged):
        learner.fit(table, rng.integers(0, 2, 400), each_round)
    assert len(seen) == 3


def test_leave_to_proceed_answers_what_was_said_before_it_and_nothing_after() -> None:
    node, channel = pair()
    channel.round()
    node.sendall(encode_control({"type": "changed"}))
    with pytest.raises(ConsentChanged):
        channel.round()
    with pytest.raises(ConsentChanged):  # until the gate has been asked
        channel.round()
    node.sendall(encode_control({"type": "proceed", "phase": "fit", "exclude": ["a"]}))
    with channel.phase("fit") as phase:
        assert phase.exclude == {"a"}
        channel.round()
        node.sendall(encode_control({"type": "changed"}))
        with pytest.raises(ConsentChanged):
            channel.round()


def test_a_stop_is_heard_between_two_rounds() -> None:
    node, channel = pair()
    node.sendall(encode_control({"type": "stop", "code": "cancelled"}))
    with pytest.raises(Stopped):
        channel.round()


def test_a_node_that_is_gone_is_noticed_between_two_rounds() -> None:
    node, channel = pair()
    node.close()
    with pytest.raises(Stopped):
        channel.round()
