"""Databases for tests: a file of SQLite, and a server of PostgreSQL that a session starts where its programs are."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "hidden-word"  # noqa: S105 - of a server that lives as long as the tests


def server_programs() -> Path | None:
    """The folder of initdb and pg_ctl: on PATH, or where Debian has them."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


@contextmanager
def postgresql(programs: Path) -> Iterator[str]:
    """Start a server in a folder of its own, and give the URL of its database, with a password.

    The folders of pytest are closed to other users, and root cannot run a server.
    """
    kept = tempfile.TemporaryDirectory(prefix="commonspace-postgresql-", ignore_cleanup_errors=True)
    with kept as folder, _server(programs, Path(folder)) as url:
        yield url


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Make a database of its own on a server, and give its URL."""
    from sqlalchemy import create_engine

    name = f"test_{secrets.token_hex(8)}"
    engine = create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield f"{server.rpartition('/')[0]}/{name}"
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


@contextmanager
def _server(programs: Path, folder: Path) -> Iterator[str]:
    as_root = os.geteuid() == 0
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if as_root else {}
    (folder / "password").write_text(PASSWORD)
    if as_root:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"

    def call(program: str, *arguments: object) -> None:
        command = [programs / program, *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=120, **user)  # type: ignore[call-overload]

    secure = ("-U", "ann", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}")
    call("initdb", "-D", data, *secure, "-E", "UTF8", "--locale=C", "--no-sync")
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    call("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", settings, "start")
    try:
        yield f"postgresql://ann:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
