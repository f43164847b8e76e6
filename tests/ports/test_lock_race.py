"""Processes of both runtimes that want one state folder at the same time: one gets it."""
# cpython only

import os
import signal
import subprocess
import sys

import interpreter
import pytest

PROCESSES = 8
ROUNDS = 10
CONTENDER = """
import os
import sys
from mote_ports.lock import Lock, Locked
folder = sys.argv[1]
lock = Lock(folder)

def churn(times):
    "Take it that often; every other time leave it like a process that died."
    taken = 0
    for n in range(100000):
        if taken == times:
            break
        try:
            lock.take()
        except Locked:
            continue
        taken += 1
        os.mkdir(folder + "/critical")  # fails if somebody else is in there
        os.rmdir(folder + "/critical")
        if taken % 2:
            owner = folder + "/owner/"
            os.rename(owner + os.listdir(owner)[0], owner + "999999999-%d-" % n)
        lock.release()
    return taken

print("ready")
for line in sys.stdin:
    if line.strip() == "take":
        try:
            lock.take()
            print("took")
        except Locked as e:
            print(e)
    elif line.strip() == "churn":
        print("churned", churn(100))
    else:
        lock.release()
        print("released")
    if hasattr(sys.stdout, "flush"):
        sys.stdout.flush()
"""


class Contender:
    """A process that takes and gives back the lock when it is told to."""

    def __init__(self, program, script, folder):
        command = [program, str(script), str(folder)]
        if program == sys.executable:
            command.insert(1, "-u")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=interpreter.environment(folder, folder)
            | {"PYTHONPATH": ":".join(str(interpreter.ROOT / p) for p in ("core", "ports"))},
        )
        self.program = program
        assert self.hear() == "ready"

    def tell(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().strip()

    def kill(self, reap=True):
        self.process.send_signal(signal.SIGKILL)
        # it has ended when this returns, and is a zombie
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        if reap:
            self.end()

    def end(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def contend(tmp_path):
    """Starts contenders for one folder; ends them all at the end."""
    script = tmp_path / "contender.py"
    script.write_text(CONTENDER)
    state = tmp_path / "state"
    state.mkdir()
    started = []

    def start(program):
        started.append(Contender(program, script, state))
        return started[-1]

    yield start
    for contender in started:
        contender.end()


def _programs(runtimes):
    found = {"cpython": sys.executable, "micropython": interpreter.find()}
    if found["micropython"] is None and runtimes != ("cpython",):
        pytest.skip(interpreter.missing())
    return [found[runtime] for runtime in runtimes]


@pytest.mark.parametrize(
    "runtimes", [("cpython",), ("micropython",), ("cpython", "micropython")], ids="-".join
)
def test_of_many_exactly_one_takes_it(contend, runtimes):
    programs = _programs(runtimes)
    contenders = [contend(programs[n % len(programs)]) for n in range(PROCESSES)]
    for n in range(ROUNDS):
        for contender in contenders:
            contender.tell("take")
        heard = [contender.hear() for contender in contenders]
        assert heard.count("took") == 1, heard
        winner = contenders[heard.index("took")]
        path = str(winner.process.args[-1]) + "/lock"
        who = (f"process {winner.process.pid} owns {path}", f"another process owns {path}")
        assert all(text in who for text in heard if text != "took"), heard
        if n % 2:
            winner.tell("release")
            assert winner.hear() == "released"
        else:
            winner.kill()
            contenders[contenders.index(winner)] = contend(winner.program)


@pytest.mark.parametrize(
    "runtimes", [("cpython",), ("micropython",), ("cpython", "micropython")], ids="-".join
)
def test_never_two_are_inside_and_the_dead_do_not_block(contend, runtimes):
    programs = _programs(runtimes)
    contenders = [contend(programs[n % len(programs)]) for n in range(4)]
    for contender in contenders:
        contender.tell("churn")
    heard = [contender.hear().split() for contender in contenders]
    assert heard == [["churned", "100"]] * 4


@pytest.mark.parametrize("first", ["cpython", "micropython"])
@pytest.mark.parametrize("second", ["cpython", "micropython"])
def test_whoever_has_it_keeps_it_until_its_end(contend, first, second):
    owner, other = (contend(program) for program in _programs((first, second)))
    owner.tell("take")
    assert owner.hear() == "took"
    other.tell("take")
    text = other.hear()
    assert text.startswith(f"process {owner.process.pid} owns ")
    assert text.endswith("/state/lock")
    owner.kill(reap=False)  # nobody has to wait for it
    other.tell("take")
    assert other.hear() == "took"


def test_the_kernel_keeps_processes_apart_that_do_not_see_one_another(contend, tmp_path):
    owner, other = (contend(program) for program in _programs(("cpython", "cpython")))
    owner.tell("take")
    assert owner.hear() == "took"
    for name in (tmp_path / "state" / "owner").iterdir():
        name.unlink()
    other.tell("take")
    assert other.hear() == f"another process owns {tmp_path}/state/lock"
