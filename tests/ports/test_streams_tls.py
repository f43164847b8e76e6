# cpython only: the servers are; what connects to them runs on both runtimes
"""TLS: who is let in, and what is said of whoever is not."""

import asyncio
import datetime
import os
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager

import interpreter
import pytest
import trustme

HOST = "localhost"
RUNTIMES = ("cpython", "micropython")
LATER = {"not_before": datetime.datetime(2090, 1, 1), "not_after": datetime.datetime(2091, 1, 1)}
PAST = {"not_before": datetime.datetime(2024, 1, 1), "not_after": datetime.datetime(2025, 1, 1)}

# What runs on the runtime: connects, sends a byte, prints what came or what went wrong.
CLIENT = """
import asyncio, sys
from mote_ports.streams import connect
from mote_ports.system import tls_context

async def run(host, port, *files):
    try:
        tls = (files[0] or "this system", lambda: tls_context(*files)) if files else None
        stream = await connect(host, int(port), tls)
        stream.write(b"x")
        await stream.drain()
        buf = memoryview(bytearray(5))
        print("came:", bytes(buf[: await stream.read(buf)]))
        stream.close()
    except OSError as e:
        print(e.args[0], e.args[1])

asyncio.run(run(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Certificates and keys of all kinds; `X.pem` of a server holds both."""
    path = tmp_path_factory.mktemp("tls")
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(path / "ca.pem")
    other.cert_pem.write_to_path(path / "other.pem")
    (path / "both.pem").write_bytes(other.cert_pem.bytes() + ca.cert_pem.bytes())
    (path / "junk.pem").write_text("no certificate\n")
    for name, cert in (
        ("good", ca.issue_cert(HOST)),
        ("named", ca.issue_cert("a.example", "10.1.2.3")),
        ("expired", ca.issue_cert(HOST, **PAST)),
        ("early", ca.issue_cert(HOST, **LATER)),
    ):
        cert.private_key_and_cert_chain_pem.write_to_path(path / f"{name}.pem")
    for name, kind in (("ec", trustme.KeyType.ECDSA), ("rsa", trustme.KeyType.RSA)):
        cert = ca.issue_cert("client", key_type=kind)
        cert.cert_chain_pems[0].write_to_path(path / f"{name}.pem")
        cert.private_key_pem.write_to_path(path / f"{name}.key")
    _convert(path, "ec", ())
    _convert(path, "rsa", ("-passout", "pass:x", "-aes128"), "encrypted.key")
    return path


def _convert(path, name, options, out=None):
    """Rewrite a key as PKCS #8."""
    command = ["openssl", "pkey", "-in", path / f"{name}.key", "-out", path / (out or "p8.key")]
    subprocess.run([*command, *options], check=True)


async def _greet(reader, writer):
    writer.write(b"hello")
    await reader.read(1)
    writer.close()


async def _hang_up(reader, writer):
    await reader.read(1)
    writer.transport.abort()


@asynccontextmanager
async def served(folder, cert=None, handler=_greet, ca=None):
    """The port of a server with that certificate; without one it does not speak TLS."""
    context = None
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / cert)
    if ca:
        context.load_verify_locations(folder / ca)
        context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said_by(runtime, folder, host, port, *files):
    """What CLIENT prints there; `files` are (ca, cert, key), names in the folder or ""."""
    program = sys.executable if runtime == "cpython" else interpreter.find()
    assert program, interpreter.missing()
    env = interpreter.environment(folder, folder)
    env["PYTHONPATH"] = env["MICROPYPATH"].removesuffix(".frozen")
    env["SSL_CERT_FILE"] = os.devnull  # the machine's own trust store stays out of it
    process = await asyncio.create_subprocess_exec(
        *(program, "-c", CLIENT, host, str(port), *files),
        cwd=folder,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    return out.decode().strip().replace("127.0.0.1", HOST if host == HOST else "127.0.0.1")


HELLO = "came: b'hello'"
TODAY = datetime.datetime.now(datetime.UTC).date().isoformat()
HOST_DUE = "[broker] host must be a name that is in it"
CASES = {
    # name: (server's certificate, host, ca, what CPython says, what MicroPython says)
    "good": ("good.pem", HOST, "ca.pem", HELLO, HELLO),
    "one of several CAs": ("good.pem", HOST, "both.pem", HELLO, HELLO),
    "wrong CA": (
        *("good.pem", HOST, "other.pem"),
        *[
            "0 the certificate is signed by no CA of other.pem: name the broker's CA with "
            "[broker] ca_file"
        ]
        * 2,
    ),
    "no CA": (
        *("good.pem", HOST, ""),
        "0 the certificate is signed by no CA of this system: name the broker's CA with "
        "[broker] ca_file",
        "0 ca_file: needed: MicroPython has no trust store",
    ),
    "wrong name": (
        *("named.pem", HOST, "ca.pem"),
        f'0 the certificate is for "a.example", "10.1.2.3", not for "{HOST}": {HOST_DUE}',
        f'0 the certificate is not for "{HOST}": {HOST_DUE}',
    ),
    "wrong address": (
        *("good.pem", "127.0.0.1", "ca.pem"),
        f'0 the certificate is for "{HOST}", not for "127.0.0.1": {HOST_DUE}',
        f'0 the certificate is not for "127.0.0.1": {HOST_DUE}',
    ),
    "expired": (
        *("expired.pem", HOST, "ca.pem"),
        f"0 the certificate expired on 2025-01-01, today is {TODAY}: the broker needs a new one",
        f"0 the certificate expired, today is {TODAY}: the broker needs a new one",
    ),
    "not yet valid": (
        *("early.pem", HOST, "ca.pem"),
        f"0 the certificate is valid from 2090-01-01 on, today is {TODAY}: is the clock right?",
        f"0 the certificate is not valid yet, today is {TODAY}: is the clock right?",
    ),
    "no certificate in the CA's file": (
        *("good.pem", HOST, "junk.pem"),
        *["0 ca_file: junk.pem: no certificate in PEM form"] * 2,
    ),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("case", CASES)
async def test_the_server_must_prove_who_it_is(folder, runtime, case):
    cert, host, ca, *expected = CASES[case]
    async with served(folder, cert) as port:
        said = await said_by(runtime, folder, host, port, ca, "", "")
    assert said == expected[RUNTIMES.index(runtime)]


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_server_without_tls_is_told_from_one_that_hangs_up(folder, runtime):
    async with served(folder) as port:
        said = await said_by(runtime, folder, HOST, port, "ca.pem", "", "")
    assert said == (
        f"0 what answers at port {port} does not speak TLS: is it the broker's TLS port?"
    )
    async with served(folder, handler=_hang_up) as port:  # as mosquitto does
        said = await said_by(runtime, folder, HOST, port, "ca.pem", "", "")
    assert said == (
        f"104 the broker hung up before it said anything: is {port} its TLS port, does it want "
        "a certificate ([broker] client_cert)?"
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("cert", "key"), [("ec.pem", "ec.key"), ("rsa.pem", "rsa.key"), ("ec.pem", "p8.key")]
)
async def test_a_client_certificate_lets_us_in(folder, runtime, cert, key):
    async with served(folder, "good.pem", ca="ca.pem") as port:
        assert await said_by(runtime, folder, HOST, port, "ca.pem", cert, key) == HELLO


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_missing_or_unknown_client_certificate_is_said(folder, runtime):
    for server_ca, cert in (("ca.pem", ("", "")), ("other.pem", ("ec.pem", "ec.key"))):
        async with served(folder, "good.pem", ca=server_ca) as port:
            said = await said_by(runtime, folder, HOST, port, "ca.pem", *cert)
        assert "certificate" in said, said
        assert "client_cert" in said, said


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("cert", "key", "expected"),
    [
        ("ec.pem", "rsa.key", "client_key: rsa.key: not the key that belongs to ec.pem"),
        ("rsa.pem", "ec.key", "client_key: ec.key: not the key that belongs to rsa.pem"),
        ("none.pem", "ec.key", "client_cert: none.pem: no such file or folder"),
        ("ec.pem", "none.key", "client_key: none.key: no such file or folder"),
        ("junk.pem", "ec.key", "client_cert: junk.pem: no certificate in PEM form"),
        ("ec.pem", "ca.pem", "client_key: ca.pem: no private key in PEM form"),
        (
            *("rsa.pem", "encrypted.key"),
            "client_key: encrypted.key: it is encrypted, and nobody is there to be asked for the "
            "password",
        ),
    ],
)
async def test_a_client_certificate_that_can_not_be_used_is_named(
    folder, runtime, cert, key, expected
):
    assert await said_by(runtime, folder, HOST, 1, "ca.pem", cert, key) == f"0 {expected}"


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_what_keeps_from_a_server_at_all_is_said_in_words(folder, runtime):
    async with served(folder) as port:
        pass
    assert await said_by(runtime, folder, HOST, port) == "111 connection refused"
    said = await said_by(runtime, folder, "nowhere.invalid", port)
    assert said.endswith(' no address is known for "nowhere.invalid"'), said
