"""A PostgreSQL of our own for the tests: the system's binaries where there are any, else those of PyPI's pgserver."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def binaries() -> Path | None:
    """The folder of initdb and postgres; None if there is none."""
    for folder in (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *_on_path(), *_of_pgserver()):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


@contextmanager
def cluster(folder: Path, *, kept: Path | None = None, **settings: str) -> Iterator[str]:
    """A running PostgreSQL with these settings, reached by a socket in a folder of its own; its URL.

    Its data are in `kept` and stay there, else they are deleted.
    """
    home = Path(tempfile.mkdtemp(prefix="pg-"))  # short: the name of a socket has at most 107 bytes
    data = home / "data" if kept is None else kept.absolute()
    server: subprocess.Popen[bytes] | None = None
    try:
        user = _user(home)
        as_user = (
            {"user": user.pw_uid, "group": user.pw_gid, "cwd": home, "extra_groups": []} if user else {"cwd": home}
        )
        if not data.joinpath("PG_VERSION").exists():
            data.mkdir(parents=True, exist_ok=True)
            if user:
                os.chown(data, user.pw_uid, user.pw_gid)
            initdb = [folder / "initdb", "-D", data, "-U", "waypost", "-A", "trust", "-E", "UTF8", "--no-sync"]
            subprocess.run([*initdb, "--locale=C"], check=True, capture_output=True, **as_user)
        settings = (
            {"shared_buffers": "64MB"} | settings | {"listen_addresses": "", "unix_socket_directories": str(home)}
        )
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        log = open(home / "log", "wb")  # noqa: SIM115
        with log:
            server = subprocess.Popen([folder / "postgres", "-D", data, *options], stdout=log, stderr=log, **as_user)
        _wait(home)
        yield f"postgresql://waypost@/postgres?host={home}"
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # at once, whoever is connected; SIGTERM waits for them
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        shutil.rmtree(home, ignore_errors=True)


def _wait(home: Path) -> None:
    for _ in range(200):
        if b"ready to accept connections" in (home / "log").read_bytes():
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise RuntimeError((home / "log").read_text(errors="replace")[-2000:])


def _user(home: Path) -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: then as somebody who owns nothing else."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(home, user.pw_uid, user.pw_gid)
        return user
    return None


def _on_path() -> list[Path]:
    found = shutil.which("postgres")
    return [Path(found).parent] if found else []


def _of_pgserver() -> list[Path]:
    try:
        import pgserver
    except ImportError:
        return []
    return [Path(pgserver.__file__).parent / "pginstall" / "bin"]
