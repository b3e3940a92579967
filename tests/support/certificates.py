"""Certificates for tests, made by the openssl program when they are first needed.

One authority and, signed by it, certificates that are good, too old, or for another name; and one
that nobody signed.  They are made once per run, in a folder that ends with it.
"""

import functools
import pathlib
import ssl
import subprocess
import tempfile

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def openssl(folder, *arguments):
    """Run the program in the folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _sign(folder, name, names, *dates):
    openssl(
        folder, "req", *KEY, "-keyout", f"{name}.key", "-out", "request", "-subj", f"/CN={name}"
    )
    lines = (names, "authorityKeyIdentifier=keyid", "subjectKeyIdentifier=hash")
    (folder / "extensions").write_text("\n".join(lines))
    by = ("-CA", "authority.pem", "-CAkey", "authority.key", "-extfile", "extensions")
    openssl(folder, "x509", "-req", "-in", "request", "-out", f"{name}.pem", *dates, *by)


def _sign_an_old_one(folder):
    """The program takes dates from 3.4 on; before, the days may be less than none."""
    dates = ("-not_before", "20200101000000Z", "-not_after", "20200102000000Z")
    try:
        _sign(folder, "old", NAMES, *dates)
    except subprocess.CalledProcessError:
        _sign(folder, "old", NAMES, "-days", "-1")


@functools.cache
def _folder():
    keep = tempfile.TemporaryDirectory(prefix="hotloop-certificates-")
    folder = pathlib.Path(keep.name)
    extensions = ("-addext", "keyUsage=critical,keyCertSign")
    authority = ("-keyout", "authority.key", "-out", "authority.pem", "-days", "2")
    openssl(folder, "req", "-x509", *KEY, *authority, "-subj", "/CN=authority", *extensions)
    _sign(folder, "good", NAMES, "-days", "2")
    _sign_an_old_one(folder)
    _sign(folder, "elsewhere", "subjectAltName=DNS:elsewhere.example", "-days", "2")
    alone = ("-keyout", "alone.key", "-out", "alone.pem", "-days", "2", "-addext", NAMES)
    openssl(folder, "req", "-x509", *KEY, *alone, "-subj", "/CN=alone")
    return keep, folder


def certificate_file(name):
    """Return the path of a certificate: authority, good, old, elsewhere or alone."""
    return str(_folder()[1] / f"{name}.pem")


def limit(context, version):
    """Have the context speak exactly this version, "1.2" or "1.3", or any if None."""
    if version is not None:
        number = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
        context.minimum_version = context.maximum_version = number
    return context


def server_context(name="good", version=None):
    """Return a new context of a server with the certificate of that name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file(name), str(_folder()[1] / f"{name}.key"))
    return limit(context, version)


def client_context(version=None):
    """Return a new context of a client that trusts the authority and checks names."""
    context = ssl.create_default_context(cafile=certificate_file("authority"))
    return limit(context, version)
