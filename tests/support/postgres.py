"""A PostgreSQL of our own for the tests: the system's binaries where there are any, else those of PyPI's pgserver."""

from __future__ import annotations

import os
import pwd
import shutil
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
def cluster(folder: Path, shared_buffers: str = "64MB") -> Iterator[str]:
    """A running PostgreSQL, reached by a socket in a folder of its own; its URL."""
    home = Path(tempfile.mkdtemp(prefix="pg-"))  # short: the name of a socket has at most 107 bytes
    server: subprocess.Popen[bytes] | None = None
    try:
        user = _user(home)
        as_user = (
            {"user": user.pw_uid, "group": user.pw_gid, "cwd": home, "extra_groups": []} if user else {"cwd": home}
        )
        data = home / "data"
        initdb = [folder / "initdb", "-D", data, "-U", "waypost", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*initdb, "--locale=C"], check=True, capture_output=True, **as_user)
        settings = ("listen_addresses=", f"unix_socket_directories={home}", f"shared_buffers={shared_buffers}")
        options = [option for each in settings for option in ("-c", each)]
        log = open(home / "log", "wb")  # noqa: SIM115
        with log:
            server = subprocess.Popen([folder / "postgres", "-D", data, *options], stdout=log, stderr=log, **as_user)
        _wait(home)
        yield f"postgresql://waypost@/postgres?host={home}"
    finally:
        if server is not None:
            server.terminate()
            try:
                server.wait(10)
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
