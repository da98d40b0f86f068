"""The demo's processes end, whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from api.demo.narrate import DemoFailed
from api.demo.processes import Processes, descendants

PYTHON = [sys.executable, "-c"]
SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)
#: A child that starts a daemon in a session of its own and prints its pid.
DAEMON = (
    "import subprocess, sys, time\n"
    f"p = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)\n"
    "print(p.pid, flush=True)\n"
)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(probe: Callable[[], object], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if probe():
            return True
        time.sleep(0.05)
    return False


def test_leaving_the_block_ends_every_child(tmp_path: Path) -> None:
    with Processes(tmp_path, PYTHON) as processes:
        pids = [processes.start(f"child{n}", SLEEP).process.pid for n in range(3)]
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)


def test_what_ran_before_the_block_is_left_alone(tmp_path: Path) -> None:
    before = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with Processes(tmp_path, PYTHON) as processes:
            inside = processes.start("child", SLEEP).process.pid
        assert not alive(inside)
        assert before.poll() is None
    finally:
        before.kill()
        before.wait()


def test_a_failure_inside_the_block_ends_every_child(tmp_path: Path) -> None:
    pids = []

    def fail() -> None:
        with Processes(tmp_path, PYTHON) as processes:
            pids.append(processes.start("child", SLEEP).process.pid)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not alive(pids[0])


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.demo.processes._GRACE_SECONDS", 0.5)
    with Processes(tmp_path, PYTHON) as processes:
        child = processes.start("stubborn", STUBBORN)
        assert eventually(lambda: "ready" in child.tail())
        assert processes.stop() == [child.process.pid]
    assert not alive(child.process.pid)


@pytest.mark.parametrize("ending", ["", "import time; time.sleep(600)"])
def test_a_daemon_that_a_child_left_behind_is_found_and_ended(tmp_path: Path, ending: str) -> None:
    with Processes(tmp_path, PYTHON) as processes:
        child = processes.start("parent", DAEMON + ending)
        assert eventually(lambda: child.tail().strip().isdigit())
        daemon = int(child.tail())
        assert alive(daemon)
    assert not alive(daemon)
    assert daemon not in descendants(os.getpid())


def test_a_child_that_dies_is_noticed_with_its_last_words(tmp_path: Path) -> None:
    with Processes(tmp_path, PYTHON) as processes:
        processes.start("node", "import sys; print('port 7001 is taken'); sys.exit(3)")
        with pytest.raises(DemoFailed, match=r"(?s)node ended unexpectedly \(exit 3\).*port 7001 is taken"):
            processes.until("the node's registration", "节点注册", 10, lambda: None)


def test_every_wait_has_an_end(tmp_path: Path) -> None:
    with Processes(tmp_path, PYTHON) as processes:
        begin = time.monotonic()
        with pytest.raises(DemoFailed, match="the port did not happen") as failed:
            processes.until("the port", "端口", 0.3, lambda: None)
        assert time.monotonic() - begin < 3
        assert "端口" in failed.value.message_zh


def test_a_command_that_fails_tells_why(tmp_path: Path) -> None:
    with Processes(tmp_path, PYTHON) as processes:
        assert processes.run("check", "print('fine')", seconds=10).strip() == "fine"
        with pytest.raises(DemoFailed, match="row 7"):
            processes.run("check", "import sys; sys.exit('bank.csv row 7')", seconds=10)
        with pytest.raises(DemoFailed, match="did not end within"):
            processes.run("check", SLEEP, seconds=0.5)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_die_even_when_the_demo_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from api.demo.processes import Processes\n"
        f"with Processes(Path({str(tmp_path)!r}), [sys.executable, '-c']) as processes:\n"
        f"    print(processes.start('child', {SLEEP!r}).process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    demo = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    child = int(demo.stdout.readline())
    assert alive(child)
    demo.send_signal(number)
    demo.wait(10)
    assert eventually(lambda: not alive(child))
