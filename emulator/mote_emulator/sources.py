"""The sources that firmware is built from: Debian's source packages, or a checkout of the user's.

Debian's MicroPython leaves its copies of lwIP and mbedTLS out; they are source packages of their
own, and are put where MicroPython's makefiles look for them.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mote_host.errors import MoteError

from mote_emulator.debian import AptTree, find_mirror, run, say
from mote_emulator.locked import locked

SUITE = "trixie"
_PACKAGES = ("micropython", "lwip", "mbedtls")
_MANIFEST = ".sources.json"
# Where each library belongs in the interpreter's tree, and a file that shows that it is there.
_LIBRARIES = {
    "lwip": ("lib/lwip", "src/include/lwip/init.h"),
    "mbedtls": ("lib/mbedtls", "include/mbedtls/ssl.h"),
}


@dataclass(frozen=True, slots=True)
class Sources:
    """A tree of MicroPython with its libraries: where it is, and what tells it from others."""

    folder: Path
    version: str


def debian_sources(into: Path) -> Sources:
    """Debian's packages, unpacked below `into`; from the network the first time only.

    apt verifies what it downloads. Raises MoteError.
    """
    folder = into / f"{SUITE}-sources"
    with locked(into / "apt-sources"):
        if not (folder / _MANIFEST).exists():
            _unpack(into, folder)
    found = json.loads((folder / _MANIFEST).read_text())
    return Sources(folder, " ".join(f"{name} {found[name]}" for name in sorted(found)))


def _unpack(into: Path, folder: Path) -> None:
    if shutil.which("dpkg-source") is None:
        raise MoteError("no dpkg-source here: apt-get install dpkg-dev")
    say(f"fetching the sources of {', '.join(_PACKAGES)} from Debian {SUITE}")
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        _fetch(Path(scratch), AptTree(into / "apt-sources", SUITE, "amd64", find_mirror()))
        shutil.rmtree(folder, ignore_errors=True)
        Path(scratch, "micropython").rename(folder)  # at once: what is there is whole
    say(f"unpacked into {folder}")


def _fetch(scratch: Path, tree: AptTree) -> None:
    tree.update()
    tree.run("-qq", "source", "--download-only", *_PACKAGES, cwd=scratch)
    versions = {}
    for dsc in sorted(scratch.glob("*.dsc")):
        name, _, version = dsc.stem.partition("_")
        versions[name] = version
        # apt compared the files with its signed lists; the keys of uploaders are not at hand
        run(["dpkg-source", "--no-check", "-x", dsc.name, name], scratch)
    for name, (place, _) in _LIBRARIES.items():
        shutil.rmtree(scratch / "micropython" / place)
        (scratch / name).rename(scratch / "micropython" / place)
    (scratch / "micropython" / _MANIFEST).write_text(json.dumps(versions, sort_keys=True))


def checkout(folder: Path) -> Sources:
    """The user's MicroPython tree, which is only read. Raises MoteError if it lacks a part."""
    if not (folder / "ports/qemu/Makefile").exists():
        raise MoteError(f"{folder} is no MicroPython tree: it has no ports/qemu")
    for place, shows in _LIBRARIES.values():
        if not (folder / place / shows).exists():
            raise MoteError(
                f"{folder}/{place} is empty: git -C {folder} submodule update --init {place}"
            )
    digest = sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".c", ".h", ".py", ".mk", ".ld", ".s", ".S") and path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return Sources(folder.resolve(), f"checkout {digest.hexdigest()[:16]}")
