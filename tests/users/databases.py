"""PostgreSQL and Redis as Debian has them, each started for a run of the tests on loopback.

Both listen on TCP, with TLS too, and on a Unix socket, in a temporary folder that goes with them.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from users import requirements
from users.program import free_port, wait_until


def unprivileged():
    """What precedes a command so that it does not run as root, and whose files it can read."""
    if os.getuid() != 0:
        return [], None
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ["setpriv", *identity], user


@contextlib.contextmanager
def private_folder(certificates, user):
    """A temporary folder, with the certificate's files, that belongs to a user."""
    folder = Path(tempfile.mkdtemp(prefix="hotloop-users."))
    try:
        for file in (certificates.authority, certificates.certificate, certificates.key):
            copy = Path(shutil.copy(file, folder))
            copy.chmod(0o600)
        if user is not None:
            for path in (folder, *folder.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def running(command, folder, is_ready):
    """Run a server until the block ends; wait first until it is ready."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=requirements.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def ready():
        assert process.poll() is None, log.read_text()
        return is_ready()

    try:
        wait_until(ready, lambda: f"{command[0]} ready\n{log.read_text()}", 40)
        yield
    finally:
        process.send_signal(signal.SIGINT)  # For both: end now, whoever is connected.
        process.wait(20)


class Postgresql:
    """Where PostgreSQL listens: host, port and TLS as asyncpg's connect() takes them."""

    def __init__(self, folder, port, certificates):
        common = {"user": "postgres", "database": "postgres", "port": port}
        tls = certificates.client()
        self.ways = {
            "tcp": {**common, "host": "127.0.0.1", "ssl": False},
            "unix": {**common, "host": str(folder)},
            "tls": {**common, "host": "localhost", "ssl": tls},
        }


@contextlib.contextmanager
def postgresql(certificates):
    """A new cluster of PostgreSQL's, which trusts everybody; it refuses to run as root."""
    initdb, postgres, ready = map(
        requirements.postgresql_program, ("initdb", "postgres", "pg_isready")
    )
    prefix, user = unprivileged()
    with private_folder(certificates, user) as folder:
        data, port = folder / "data", free_port()
        subprocess.run(
            [*prefix, initdb, "--no-sync", "-A", "trust", "-U", "postgres", "-D", data],
            check=True,
            capture_output=True,
            cwd=folder,
            env=requirements.environment(),
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": folder / certificates.certificate.name,
            "ssl_key_file": folder / certificates.key.name,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        probe = [ready, "-q", "-h", "127.0.0.1", "-p", str(port)]
        with running(
            [*prefix, postgres, "-D", data, *options],
            folder,
            lambda: subprocess.run(probe, env=requirements.environment()).returncode == 0,
        ):
            yield Postgresql(folder, port, certificates)


class Redis:
    """Where Redis listens: the arguments of redis.asyncio.Redis."""

    def __init__(self, folder, port, tls_port, certificates):
        tls = {"ssl": True, "ssl_ca_certs": str(certificates.authority)}
        self.ways = {
            "tcp": {"host": "127.0.0.1", "port": port},
            "unix": {"unix_socket_path": str(folder / "socket")},
            "tls": {"host": "localhost", "port": tls_port, **tls},
        }


@contextlib.contextmanager
def redis(certificates):
    """A Redis that keeps nothing on disk."""
    server = requirements.program("redis-server", "redis-server")
    with private_folder(certificates, None) as folder:
        port, tls_port = free_port(), free_port()
        options = {
            "bind": "127.0.0.1",
            "port": port,
            "unixsocket": folder / "socket",
            "save": "",
            "tls-port": tls_port,
            "tls-cert-file": certificates.certificate.name,
            "tls-key-file": certificates.key.name,
            "tls-ca-cert-file": certificates.authority.name,
            "tls-auth-clients": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        log = folder / "log"
        with running([server, *words], folder, lambda: "eady to accept" in log.read_text()):
            yield Redis(folder, port, tls_port, certificates)
