"""One process tree without network, without the host's files, without privileges: bubblewrap and seccomp.

Owns the walls and how a program is started behind them. Inputs travel as anonymous memory into the sandbox's own
tmpfs, so that no plaintext ever lies in a folder of the host, not even after kill −9 of the node. It never decides
what may enter (the gate) or leave (the airlock).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from enclave import seccomp

PROJECT = Path(__file__).resolve().parent.parent
SANDBOX_UID = 64242  # host uid of sandboxed processes when the node runs as root: owns nothing on the host
_STUB = Path(__file__).with_name("stub.py")


class SandboxUnavailable(RuntimeError):
    """bubblewrap or a runtime is missing; the message says what to install."""


@dataclass(frozen=True)
class Runtime:
    """An interpreter and the code it may see. `code` maps names under /code to host folders or files."""

    python: Path
    code: Mapping[str, Path]
    sockets: bool = False


def _base_prefix(python: Path) -> Path:
    return python.resolve().parent.parent


def worker_runtime() -> Runtime:
    """Python 3.12 with `models` and `features`: the lab's and the bank's plaintext learners."""
    code = {"models": PROJECT / "models", "features": PROJECT / "features"}
    return Runtime(Path(sys.executable), code)


def engine_runtime() -> Runtime:
    """Python 3.10 with SecretFlow; loopback sockets, because its parts talk to each other over TCP."""
    engine = PROJECT / "federated" / "engine"
    code = {"creditlab_engine": engine / "creditlab_engine", "models": PROJECT / "models"}
    return Runtime(engine / ".venv" / "bin" / "python", code, sockets=True)


@dataclass(frozen=True)
class Limits:
    """Bounds of one sandbox. Memory is the resident size of the whole tree, watched by the supervisor."""

    memory_mb: int = 4096
    scratch_mb: float = 1024
    cpu_seconds: int = 7200
    processes: int = 512
    open_files: int = 4096


@dataclass
class Sandboxed:
    """A started sandbox: its outermost process and our end of its channel."""

    process: subprocess.Popen
    channel: socket.socket
    stderr: int
    limits: Limits = field(default_factory=Limits)


def _memory_file(name: str, data: bytes) -> int:
    fd = os.memfd_create(name, 0)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _ancestors(paths: Iterable[str]) -> list[str]:
    """Options that make every folder above `paths`: bubblewrap's own would be 0700 and shut the stub out."""
    folders = {str(parent) for path in paths for parent in Path(path).parents} - {"/"}
    return [word for folder in sorted(folders) for word in ("--perms", "0755", "--dir", folder)]


def _command(bwrap: str, runtime: Runtime, limits: Limits, files: dict[str, int], filter_fd: int) -> list[str]:
    folders = [
        str(folder)
        for folder in dict.fromkeys((_base_prefix(runtime.python), runtime.python.parent.parent))
        if not folder.is_relative_to("/usr")
    ]
    binds = {folder: folder for folder in folders}
    binds |= {str(source): f"/code/{name}" for name, source in runtime.code.items()}
    binds[str(_STUB)] = "/stub.py"
    command = [bwrap, "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]
    command += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--cap-drop", "ALL"]
    if os.getuid() == 0:
        # Real root needs no user namespace to build the walls; the stub then gives up uid 0 for good.
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]
    command += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64"):  # bin: set intersection sorts with /bin/sh and sort
        command += ["--symlink", f"usr/{name}", f"/{name}"]
    # private folders first: the interpreter or the project may itself lie below the host's /tmp
    size = str(int(limits.scratch_mb * (1 << 20)))
    command += ["--perms", "1777", "--size", size, "--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]
    command += ["--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"]
    command += _ancestors([*binds.values(), "/in/x", "/etc/x"])
    command += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for source, destination in binds.items():
        command += ["--ro-bind", source, destination]
    for name, fd in files.items():
        command += ["--perms", "0444", "--file", str(fd), f"/in/{name}"]
    environment = {
        "PATH": "/usr/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/code",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    for name, value in environment.items():
        command += ["--setenv", name, value]
    command += ["--remount-ro", "/", "--chdir", "/tmp", "--seccomp", str(filter_fd)]
    return command


def start(
    runtime: Runtime,
    module: str,
    inputs: Mapping[str, bytes],
    limits: Limits,
    stderr: int = subprocess.DEVNULL,
) -> Sandboxed:
    """Starts `python -m module --channel-fd N --inputs /in` behind the walls.

    `inputs` become read-only files under /in. Raises SandboxUnavailable when bubblewrap or the runtime is missing.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxUnavailable("bubblewrap is not installed: run `make setup` (Debian: apt-get install bubblewrap)")
    if not runtime.python.exists():
        raise SandboxUnavailable(f"{runtime.python} is missing: run `make setup`")
    ours, theirs = socket.socketpair()
    files = {name: _memory_file(name, data) for name, data in inputs.items()}
    filter_fd = _memory_file("seccomp", seccomp.program(runtime.sockets))
    limit_values = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_NOFILE": min(limits.open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        "RLIMIT_NPROC": limits.processes,
    }
    uid = SANDBOX_UID if os.getuid() == 0 else 0
    program = [
        str(runtime.python),
        "-B",
        "-m",
        module,
        "--channel-fd",
        str(theirs.fileno()),
        "--inputs",
        "/in",
    ]
    command = _command(bwrap, runtime, limits, files, filter_fd)
    command += [str(runtime.python), "-I", "/stub.py", str(uid), json.dumps(limit_values), *program]
    passed = (theirs.fileno(), filter_fd, *files.values())
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            pass_fds=passed,
            start_new_session=True,
            close_fds=True,
        )
    finally:
        theirs.close()
        for fd in (filter_fd, *files.values()):
            os.close(fd)
    return Sandboxed(process, ours, stderr, limits)
