"""The walls hold, and the supervisor owns every ending. Each test starts a real sandbox (R51, R61).

The probes are small modules bound in as the sandbox's only code.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from enclave.endings import JobEnded
from enclave.processes import alive, tree
from enclave.sandbox import PROJECT, Limits, Runtime, engine_runtime
from enclave.supervisor import Result, Supervisor

PRELUDE = """
import json, os, socket, sys, argparse
from models.channel import Channel
arguments = argparse.ArgumentParser()
arguments.add_argument("--channel-fd", type=int)
arguments.add_argument("--inputs")
options = arguments.parse_args()
channel = Channel.from_fd(options.channel_fd)
task = channel.task()
def attempt(what):
    try:
        return repr(what())
    except BaseException as error:
        return type(error).__name__
"""


async def proceed(phase: str) -> list[str]:
    return []


@pytest.fixture
def probe(tmp_path: Path) -> Callable[..., Result]:
    def run(
        code: str,
        inputs: dict[str, bytes] | None = None,
        *,
        declared: tuple[str, ...] = ("out.json",),
        gate: Callable = proceed,
        stall: float = 20,
        limits: Limits | None = None,
        sockets: bool = False,
        events: list | None = None,
        python: Path | None = None,
    ) -> Result:
        module = tmp_path / "probe.py"
        module.write_text(PRELUDE + textwrap.dedent(code))
        runtime = Runtime(
            python or Path(sys.executable), {"probe.py": module, "models": PROJECT / "models"}, sockets=sockets
        )
        supervisor = lambda: Supervisor(  # noqa: E731 (made inside the loop)
            runtime=runtime,
            module="probe",
            inputs=inputs or {},
            task={"type": "task", "task": "probe", "party": "lab"},
            declared=frozenset(declared),
            gate=gate,
            report=(events if events is not None else []).append,
            limits=limits or Limits(),
            stall_seconds=stall,
            phase_seconds=60,
        )

        async def main() -> Result:
            async with asyncio.timeout(50):
                return await supervisor().run()

        return asyncio.run(main())

    return run


def ask(probe: Callable[..., Result], expressions: dict[str, str], **options: object) -> dict[str, str]:
    lines = "\n".join(f"    {name!r}: attempt(lambda: {code})," for name, code in expressions.items())
    result = probe(
        f"answers = {{\n{lines}\n}}\nchannel.output('out.json', json.dumps(answers).encode())\nchannel.done({{}})",
        **options,
    )
    return json.loads(result.outputs["out.json"])


def test_a_worker_sees_its_inputs_and_nothing_of_the_host(probe: Callable[..., Result]) -> None:
    answers = ask(
        probe,
        {
            "input": "open('/in/a.txt').read()",
            "input_write": "open('/in/a.txt', 'w')",
            "root_write": "open('/x', 'w')",
            "code_write": "open('/code/models/x', 'w')",
            "tmp_write": "open('/tmp/x', 'w').write('1')",
            "home": "os.listdir('/home')",
            "shadow": "open('/etc/shadow').read()",
            "project": f"os.listdir({str(PROJECT / 'consent')!r})",
            "processes": "[p for p in os.listdir('/proc') if p.isdigit() and int(p) > 20]",
            "environment": "sorted(k for k in os.environ if 'TOKEN' in k or 'HOST' in k)",
        },
        inputs={"a.txt": b"hello"},
    )
    assert answers["input"] == "'hello'"
    assert answers["tmp_write"] == "1"
    assert answers["processes"] == answers["environment"] == "[]"
    for name in ("input_write", "root_write", "code_write", "home", "shadow", "project"):
        assert answers[name] in ("PermissionError", "OSError", "FileNotFoundError"), name


def test_an_interpreter_below_tmp_is_reachable(probe: Callable[..., Result], tmp_path: Path) -> None:
    """A checkout below /tmp must run too: the sandbox's own /tmp may not hide it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    answers = ask(probe, {"prefix": "sys.prefix"}, python=tmp_path / "venv" / "bin" / "python")
    assert answers["prefix"] == repr(str(tmp_path / "venv"))


def test_a_program_that_cannot_start_is_a_dead_engine_not_a_fault_of_the_node(probe: Callable[..., Result]) -> None:
    with pytest.raises(JobEnded) as ended:
        probe("os._exit(3)")
    assert ended.value.cause.code == "engine_died"


def test_a_worker_has_no_privilege_and_no_way_to_gain_one(probe: Callable[..., Result]) -> None:
    answers = ask(
        probe,
        {
            "uid": "os.getuid() != 0 and os.geteuid() != 0",
            "capabilities": "open('/proc/self/status').read().split('CapEff:')[1].split()[0].strip('0')",
            "no_new_privileges": "open('/proc/self/status').read().split('NoNewPrivs:')[1].split()[0]",
            "setuid": "os.setuid(0)",
            "socket": "socket.socket()",
        },
    )
    assert answers == {
        "uid": "True",
        "capabilities": "''",
        "no_new_privileges": "'1'",
        "setuid": "PermissionError",
        "socket": "PermissionError",
    }


@pytest.mark.parametrize(
    "call", ["os.unshare(os.CLONE_NEWUSER)", "libc.ptrace(0, 0, 0, 0)", "libc.mount(0, 0, 0, 0, 0)"]
)
def test_a_forbidden_system_call_kills_the_sandbox(probe: Callable[..., Result], call: str) -> None:
    with pytest.raises(JobEnded) as ended:
        probe(f"import ctypes\nlibc = ctypes.CDLL(None)\n{call}\nchannel.done({{}})")
    assert ended.value.cause.code == "engine_died"


def test_the_engine_reaches_its_own_loopback_and_no_other_network(probe: Callable[..., Result]) -> None:
    answers = ask(
        probe,
        {
            "loopback": "(lambda s: (s.bind(('127.0.0.1', 0)), s.listen(), s.getsockname()[0])[2])(socket.socket())",
            "outside": "socket.create_connection(('192.0.2.1', 80), 2)",
            "interfaces": "sorted(name for _, name in socket.if_nameindex())",
        },
        sockets=True,
        python=engine_runtime().python,
    )
    assert answers["loopback"] == "'127.0.0.1'"
    assert answers["outside"] in ("OSError", "TimeoutError")
    assert answers["interfaces"] in ("['lo']", "PermissionError")


def test_an_undeclared_output_ends_the_task(probe: Callable[..., Result]) -> None:
    with pytest.raises(JobEnded) as ended:
        probe("channel.output('rows.csv', b'1,2')\nchannel.done({})")
    assert ended.value.cause.code == "output_not_declared"


def test_a_silent_task_is_ended_as_stalled(probe: Callable[..., Result]) -> None:
    started = time.monotonic()
    with pytest.raises(JobEnded) as ended:
        probe("import time\ntime.sleep(100)", stall=2)
    assert ended.value.cause.code == "stalled"
    assert time.monotonic() - started < 15


def test_a_task_over_its_memory_is_ended(probe: Callable[..., Result]) -> None:
    with pytest.raises(JobEnded) as ended:
        probe("x = bytearray(600 << 20)\nimport time\ntime.sleep(20)", limits=Limits(memory_mb=300))
    assert ended.value.cause.code == "memory_limit"


def test_a_full_scratch_disk_is_an_error_inside_not_on_the_host(probe: Callable[..., Result]) -> None:
    answers = ask(probe, {"fill": "open('/tmp/x', 'wb').write(bytes(20 << 20))"}, limits=Limits(scratch_mb=4))
    assert answers["fill"] == "OSError"


def test_the_gate_is_asked_before_each_phase_and_its_exclusions_arrive(probe: Callable[..., Result]) -> None:
    asked: list[str] = []
    events: list[dict] = []

    async def gate(phase: str) -> list[str]:
        asked.append(phase)
        return ["e7"] if phase == "second" else []

    result = probe(
        """
        seen = []
        for name in ("first", "second"):
            with channel.phase(name) as phase:
                seen.append(sorted(phase.exclude))
                channel.progress(1, 2)
        channel.output("out.json", json.dumps(seen).encode())
        channel.done({"rows": 3})
        """,
        gate=gate,
        events=events,
    )
    assert asked == ["first", "second"]
    assert json.loads(result.outputs["out.json"]) == [[], ["e7"]]
    assert [phase["name"] for phase in result.phases] == ["first", "second"]
    assert result.summary == {"rows": 3}
    assert {"phase", "progress"} == {event["kind"] for event in events}


def test_a_gate_that_refuses_ends_the_task(probe: Callable[..., Result]) -> None:
    async def gate(phase: str) -> list[str]:
        raise PermissionError(phase)

    with pytest.raises(PermissionError):
        probe("with channel.phase('first'):\n    pass", gate=gate)


def test_no_sandbox_outlives_a_node_killed_without_warning(tmp_path: Path) -> None:
    module = tmp_path / "probe.py"
    module.write_text("import time\ntime.sleep(300)\n")
    node = tmp_path / "node.py"
    node.write_text(
        textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from enclave import sandbox
        runtime = sandbox.Runtime(Path(sys.executable), {{"probe.py": Path({str(module)!r})}})
        box = sandbox.start(runtime, "probe", {{"secret.txt": b"top secret"}}, sandbox.Limits())
        print("started", flush=True)
        time.sleep(300)
        """)
    )
    process = subprocess.Popen([sys.executable, str(node)], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    deadline = time.monotonic() + 10
    while len(inside := tree(process.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(inside) >= 3
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    left = set(inside) - {process.pid}
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if alive(pid)}
        time.sleep(0.1)
    assert not left
