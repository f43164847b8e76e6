"""A certification authority of one's own, and a server certificate from it, made by `openssl`."""

import ipaddress
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mote_host.errors import ConfigError, MoteError

YEARS = 20
TIMEOUT_S = 60
# A device may have no clock and take the time of its firmware, or the year 2000, for now.
NOT_BEFORE = "20000101000000Z"

_CA = """\
[ca]
default_ca = own
[own]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = policy
unique_subject = no
[policy]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = {names}
[req]
distinguished_name = subject
[subject]
"""


def make_certificates(folder: Path, hostnames: list[str]) -> None:
    """Write ca.crt, ca.key, server.crt and server.key into `folder`; keys have mode 0600.

    The server's certificate is for `hostnames`, which are names or addresses. Both last YEARS
    years. Raises ConfigError if openssl is not installed, MoteError if it fails.
    """
    program = shutil.which("openssl")
    if program is None:
        raise ConfigError("openssl is not installed: apt-get install openssl")
    with tempfile.TemporaryDirectory(prefix="mote-ca-") as scratch:
        work = Path(scratch)
        (work / "index.txt").touch()
        names = ", ".join(_alternative(name) for name in hostnames)
        (work / "ca.cnf").write_text(_CA.format(folder=work, names=names))
        for name, subject in (("ca", "mote broker CA"), ("server", hostnames[0][:64])):
            _make_key(program, work, name, subject)
        _sign(program, work, "ca", "authority", "-selfsign")
        _sign(program, work, "server", "server", "-cert", f"{work}/ca.crt")
        for name in ("ca.crt", "ca.key", "server.crt", "server.key"):
            (folder / name).unlink(missing_ok=True)  # its mode would stay
            (folder / name).touch(0o600 if name.endswith(".key") else 0o644)
            shutil.copyfile(work / name, folder / name)


def _alternative(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _make_key(program: str, work: Path, name: str, subject: str) -> None:
    # P-256: what small devices can do, and the least for them to read and to compute
    _openssl(
        *(program, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-config", f"{work}/ca.cnf", "-subj", f"/CN={subject}"),
        *("-keyout", f"{work}/{name}.key", "-out", f"{work}/{name}.csr"),
    )


def _sign(program: str, work: Path, name: str, extensions: str, *how: str) -> None:
    until = datetime.now(UTC) + timedelta(days=365 * YEARS)
    _openssl(
        *(program, "ca", "-batch", "-notext", "-config", f"{work}/ca.cnf"),
        *("-rand_serial", "-keyfile", f"{work}/ca.key", "-extensions", extensions, *how),
        *("-startdate", NOT_BEFORE, "-enddate", f"{until:%Y%m%d%H%M%SZ}"),
        *("-in", f"{work}/{name}.csr", "-out", f"{work}/{name}.crt"),
    )


def _openssl(*command: str) -> None:
    try:
        subprocess.run(  # noqa: S603 (openssl, and hostnames that were checked)
            command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.CalledProcessError as exc:
        raise MoteError(f"openssl {command[1]} failed: {exc.stderr.strip()[-500:]}") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise MoteError(f"openssl {command[1]} failed: {exc}") from exc
