"""What the engine loads from its peer: data of a few kinds, and no name that could run anything."""

from __future__ import annotations

import json
import os
import subprocess

from . import harness

# Runs on the engine's Python, where the fed layer lives.
PROBE = r"""
import collections, functools, json, os, pickle, subprocess, sys
import numpy as np
from heu import numpy as hnp, phe
from creditlab_engine import wire
from creditlab_engine.errors import EngineError

class Call:
    def __init__(self, function, *arguments): self.call = function, arguments
    def __reduce__(self): return self.call

target = sys.argv[1]
kit = hnp.setup("ou", 2048)
sealed = kit.encryptor().encrypt(kit.array(np.array([[1.0, 2.0]]), phe.BatchFloatEncoderParams(scale=64)))
bad = {
    "eval": Call(eval, f"open({target!r}, 'w')"),
    "exec": Call(exec, f"open({target!r}, 'w')"),
    "system": Call(os.system, f"touch {target}"),
    "popen": Call(subprocess.Popen, ["touch", target]),
    "open": Call(open, target, "w"),
    "partial": functools.partial(open, target),
    "getattr": Call(getattr, "", "format"),
    "numpy.load": Call(np.load, target),
    "numpy.fromfile": Call(np.fromfile, "/etc/passwd"),
    "lambda by name": np.vectorize,
    "exception": ValueError("row 17: 91440101MA5T000220"),
    "secretflow": __import__("secretflow.device", fromlist=["PYU"]).PYU("bank"),
    "nested": np.array([Call(os.system, f"touch {target}")], dtype=object),
    "ordered": collections.OrderedDict(a=1),
}
good = {
    "plain": [None, True, 3, 2.5, "text", b"bytes", (1, 2), {"a": [1]}, {1, 2}],
    "arrays": [np.arange(5), np.zeros((2, 2)), np.packbits(np.ones(9, bool)), np.asfortranarray(np.ones((3, 2)))],
    "ciphertexts": sealed,
    "key": kit.public_key(),
}
report = {"refused": [], "loaded": []}
for name, value in bad.items():
    try:
        wire.loads(pickle.dumps({"seq_id": 1, "payload": value, "job": "j"}))
    except EngineError as error:
        report["refused"].append(name) if error.code == "message_refused" else None
for name, value in good.items():
    wire.loads(pickle.dumps(value, protocol=5))
    report["loaded"].append(name)
for junk in (b"", b"\x80\x05", b"cos\nsystem\n(S'true'\ntR.", b"not a pickle at all"):
    try:
        wire.loads(junk)
    except EngineError as error:
        report["refused"].append(repr(junk)) if error.code == "message_refused" else None
report["bad"] = [*bad, *map(repr, (b"", b"\x80\x05", b"cos\nsystem\n(S'true'\ntR.", b"not a pickle at all"))]
report["good"] = list(good)
report["ray"] = sys.modules.get("ray", "missing") is None
report["components"] = "secretflow.component" in sys.modules
print(json.dumps(report))
"""


def test_only_listed_data_classes_are_loaded(tmp_path) -> None:  # type: ignore[no-untyped-def]
    target = tmp_path / "owned"
    paths = os.pathsep.join([str(harness.ROOT), str(harness.ENGINE)])
    answer = subprocess.run(
        [str(harness.PYTHON), "-c", PROBE, str(target)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout.splitlines()[-1])
    assert report["refused"] == report["bad"]
    assert report["loaded"] == report["good"]
    assert not target.exists()
    # What keeps the engine small and quick, see devices.py.
    assert report["ray"] is True and report["components"] is False
