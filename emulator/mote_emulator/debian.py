"""Debian packages of any suite and architecture, unpacked into a folder; nothing is installed.

A private apt tree, with its own lists and cache, stands beside the machine's. It takes its mirror
and its trusted keys from the machine's apt configuration, so no host name stands here, and apt
checks signatures as always. Root rights are not needed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mote_host.errors import MoteError

_APT_S = 600.0
_MANIFEST = ".packages.json"
_FORMAT = "$(ORIGIN)|$(LABEL)|$(SIGNED_BY)|$(REPO_URI)"
_KEYRINGS = Path("/usr/share/keyrings")


@dataclass(frozen=True, slots=True)
class Mirror:
    """A Debian archive: its URI, and the keyring that signs it or None for apt's default."""

    uri: str
    keyring: str | None


def find_mirror() -> Mirror:
    """The Debian mirror of this machine's apt. Raises MoteError if there is none."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MoteError(f"no {tool} here: Debian packages can be fetched on Debian only")
    listed = run(["apt-get", "indextargets", "--format", _FORMAT])
    for line in listed.splitlines():
        origin, label, signed_by, uri = (*line.split("|", 3), "", "", "", "")[:4]
        # The security archive has the same origin and another label.
        if origin == label == "Debian" and uri:
            return Mirror(uri, _keyring(signed_by))
    raise MoteError(
        "apt knows no Debian mirror: none of its sources is Debian's, or apt-get update "
        "has not run yet"
    )


def _keyring(signed_by: str) -> str | None:
    # apt leaves its placeholder in place where a source names no keyring.
    if signed_by.startswith("/"):
        return signed_by
    found = sorted(_KEYRINGS.glob("debian-archive-keyring.*"))
    return str(found[0]) if found else None


class AptTree:
    """apt with lists and cache of its own in `folder`, for one suite and one architecture."""

    def __init__(self, folder: Path, suite: str, arch: str, mirror: Mirror) -> None:
        self._folder = folder.resolve()
        self._suite = suite
        self._arch = arch
        self._mirror = mirror

    def update(self) -> None:
        """Set the tree up and fetch its package lists. Raises MoteError."""
        for name in ("state/lists/partial", "cache/archives/partial", "etc"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "state/status").touch()
        options = f"arch={self._arch}"
        if self._mirror.keyring:
            options += f" signed-by={self._mirror.keyring}"
        where = f"[{options}] {self._mirror.uri} {self._suite} main\n"
        (self._folder / "etc/sources.list").write_text(f"deb {where}deb-src {where}")
        self.run("-qq", "update", cwd=self._folder)

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Download the .deb files of exactly these packages; dependencies are the caller's."""
        self.run("-qq", "download", *packages, cwd=into)
        return sorted(into.glob("*.deb"))

    def run(self, *arguments: str, cwd: Path) -> str:
        """Run apt-get on this tree in `cwd`; returns what it printed. Raises MoteError."""
        options = {
            "Dir::State": self._folder / "state",
            "Dir::State::status": self._folder / "state/status",
            "Dir::Cache": self._folder / "cache",
            "Dir::Etc::sourcelist": self._folder / "etc/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": self._arch,
            "APT::Architectures": self._arch,
            "Acquire::Languages": "none",
            # apt's own user could not write into a folder of ours.
            "APT::Sandbox::User": "root",
        }
        given = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        return run(["apt-get", *given, *arguments], cwd)


def fetch(packages: Sequence[str], suite: str, arch: str, into: Path) -> Path:
    """A folder below `into` that holds these packages of `suite` and `arch`, unpacked.

    Only what is named is fetched: name the libraries too. The second call with the same arguments
    finds the folder there and needs no network; `versions` says what it holds; remove it to fetch
    anew. Progress goes to standard error. Raises MoteError.
    """
    names = sorted(set(packages))
    digest = sha256(" ".join(names).encode()).hexdigest()[:8]
    folder = into / f"{suite}-{arch}-{digest}"
    if (folder / _MANIFEST).exists():
        return folder
    into.mkdir(parents=True, exist_ok=True)
    tree = AptTree(into / f"apt-{suite}-{arch}", suite, arch, find_mirror())
    say(f"fetching {' '.join(names)} of Debian {suite} for {arch}")
    tree.update()
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        debs, root = Path(scratch, "debs"), Path(scratch, "root")
        debs.mkdir()
        found: dict[str, str] = {}
        for deb in tree.download(names, debs):
            name, version = (run(["dpkg-deb", "-f", str(deb), key]).strip() for key in _ABOUT)
            found[name] = version
            run(["dpkg-deb", "-x", str(deb), str(root)])
        (root / _MANIFEST).write_text(json.dumps(found, indent=1, sort_keys=True))
        shutil.rmtree(folder, ignore_errors=True)
        root.chmod(0o755)
        root.rename(folder)  # last and at once, so that a folder that is there is whole
    say(f"unpacked into {folder}")
    return folder


_ABOUT = ("Package", "Version")


def versions(folder: Path) -> dict[str, str]:
    """The packages in a folder that `fetch` returned, and their versions."""
    found: dict[str, str] = json.loads((folder / _MANIFEST).read_text())
    return found


def command(folder: Path, program: str) -> list[str]:
    """How to run `program` (a path in `folder`, without its first slash) with the folder's libc.

    Raises MoteError if the folder holds no libc6.
    """
    loaders = sorted(folder.glob("usr/lib/*/ld-linux*.so.*"))
    if not loaders:
        raise MoteError(f"{folder} holds no dynamic loader: fetch libc6, too")
    library = loaders[0].parent
    return [str(loaders[0]), "--library-path", str(library), str(folder / program)]


def run(arguments: Sequence[str], cwd: Path | None = None) -> str:
    """What a command printed. Raises MoteError with what it said if it fails."""
    shown = next((part for part in reversed(arguments) if not part.startswith("-")), "")
    try:
        done = subprocess.run(  # noqa: S603 (a list, no shell)
            arguments,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_APT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise MoteError(f"{arguments[0]} ({shown}): {exc}") from exc
    if done.returncode:
        raise MoteError(f"{arguments[0]} ({shown}): {done.stderr.strip() or done.returncode}")
    return done.stdout


def say(text: str) -> None:
    """Tell how it goes, on standard error."""
    print(f"debian: {text}", file=sys.stderr)
