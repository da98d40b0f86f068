"""All of a batch or nothing: killed, refused by a full disk, or side by side with another."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.features.ingest.desk import Desk, penalty

_PLACES = {
    "before anything is written": "features.ingest.log.Log.put",
    "before the batch is pending": "features.ingest.log.Log._replace",
    "before the store's files": "features.store.store.EventStore._store",
    "before the store's commit": "features.store.manifest.append",
    "after the store's commit": "features.ingest.log._outcome",
    "before the entry": "features.ingest.log.Log._append",
    "before pending is cleared": "pathlib.Path.unlink",
}


@pytest.mark.parametrize("place", list(_PLACES))
def test_a_batch_killed_at_any_moment_is_whole_or_absent(tmp_path: Path, place: str) -> None:
    """R37: events, held rows and collection record are seen together or not at all."""
    module, _, name = _PLACES[place].rpartition(".")
    program = textwrap.dedent(f"""
        import os, pkgutil, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path.cwd())!r})
        from tests.features.ingest.desk import Desk, penalty
        desk = Desk(Path({str(tmp_path)!r}))
        desk.deliver([penalty("1"), penalty("bad1", serious="x")])
        def die(*arguments, **more):
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(pkgutil.resolve_name({module!r}), {name!r}, die)
        desk.deliver([penalty("2"), penalty("bad2", serious="x")])
    """)
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    desk = Desk(tmp_path)

    def seen() -> tuple[list[str], list[str | None], int]:
        return desk.records(), [one.record_id for one in desk.intake.held()], len(desk.intake.log.entries())

    committed = place.startswith(("after the store", "before the entry", "before pending"))
    assert seen() == ((["1", "2"], ["bad1", "bad2"], 2) if committed else (["1"], ["bad1"], 1))
    again = desk.deliver([penalty("2"), penalty("bad2", serious="x")])
    assert again.counts["written"] == (0 if committed else 1)
    assert seen() == (["1", "2"], ["bad1", "bad2"], 3 if committed else 2)
    counts = [entry.counts["written"] for entry in desk.intake.log.entries()]
    assert counts == ([1, 1, 0] if committed else [1, 1])
    desk.intake.log.verify()
    desk.store.verify()


def test_a_batch_that_the_store_refuses_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("features.store.store.EventStore._store", full)
        with pytest.raises(OSError):
            desk.deliver([penalty("1"), penalty("2", serious="x")])
    assert (desk.events(), desk.intake.held(), desk.intake.log.entries()) == ([], [], [])
    assert desk.deliver([penalty("1")]).seq == 1


def test_two_deliveries_at_once_lose_nothing(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from tests.features.ingest.desk import Desk, penalty
        desk = Desk(Path(sys.argv[2]))
        for number in range(3):
            desk.deliver([penalty("shared"), penalty(sys.argv[3] + str(number)), penalty("bad", serious=sys.argv[3])])
    """)
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(Path.cwd()), str(tmp_path), name]) for name in ("x", "y")
    ]
    assert [one.wait() for one in both] == [0, 0]
    desk = Desk(tmp_path)
    assert len(desk.events()) == 7
    assert len(desk.intake.held()) == 2
    assert [entry.seq for entry in desk.intake.log.entries()] == list(range(1, 7))
    desk.intake.log.verify()
