"""What the tests with real programs share: started programs, certificates, PostgreSQL and Redis."""

import ssl

import pytest

from . import databases, requirements
from .program import Programs

# Without the libraries nothing is collected here; the header of the run says so.
collect_ignore_glob = ["test_*.py"] if requirements.missing_libraries() else []


@pytest.fixture
def loop_name(loop_factory):
    """The kind of loop of this run of the test, for programs that are told a name."""
    return "asyncio" if loop_factory.__module__.startswith("asyncio") else "hotloop"


@pytest.fixture
def programs(tmp_path):
    """Start programs with `programs.start` or `programs.python`; they end with the test."""
    started = Programs(tmp_path)
    yield started
    started.close()


class Certificates:
    """A certificate for localhost in files, and contexts for both sides."""

    def __init__(self, folder):
        import trustme

        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        self.authority = folder / "authority.pem"
        self.certificate = folder / "certificate.pem"
        self.key = folder / "key.pem"
        authority.cert_pem.write_to_path(self.authority)
        issued.private_key_pem.write_to_path(self.key)
        for part in issued.cert_chain_pems:
            part.write_to_path(self.certificate, append=True)

    def client(self):
        """A client's context that trusts the authority."""
        return ssl.create_default_context(cafile=self.authority)

    def server(self):
        """A server's context."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A certificate for localhost."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def postgresql(certificates):
    """A running PostgreSQL."""
    with databases.postgresql(certificates) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(certificates):
    """A running Redis."""
    with databases.redis(certificates) as server:
        yield server
