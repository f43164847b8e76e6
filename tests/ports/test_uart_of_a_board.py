# cpython only
"""A board's UART as a serial port: machine.UART behind the port that mote_ports.serial opens."""

import os
import subprocess

import interpreter

# A UART that is a loop: what is written can be read.
SCRIPT = """
import asyncio, io, sys

class UART(io.IOBase):
    def __init__(self, number, **options):
        self.made, self.held, self.ended = (number, options), b"", False
    def ioctl(self, request, arg):
        return arg & (5 if self.held else 4) if request == 3 else 0
    def readinto(self, buf):
        n = min(len(buf), len(self.held))
        buf[:n], self.held = self.held[:n], self.held[n:]
        return n or None
    def write(self, data):
        taken = bytes(data)[:40]
        self.held += taken
        return len(taken)
    def deinit(self):
        self.ended = True

class machine:
    pass

machine.UART = UART
sys.modules["machine"] = machine
from mote_ports.micropython.uart import open_port

async def some(port, buf):
    n = None
    while n is None:  # it was told too early that there is something
        n = await port.get(buf)
        await asyncio.sleep(0)
    return n

async def run():
    port = open_port("UART:3", 9600)
    uart = port._file
    assert uart.made == (3, {"baudrate": 9600, "timeout": 0, "rxbuf": 1024}), uart.made
    sent = b"0123456789" * 6
    at = 0
    while at < len(sent):
        await port.writable()
        at += port.put(sent[at : at + 64])
    buf = bytearray(16)
    found = b""
    while len(found) < len(sent):
        n = await asyncio.wait_for(some(port, buf), 1)
        found += buf[:n]
    assert found == sent
    try:
        await asyncio.wait_for(some(port, buf), 0.05)
        raise AssertionError("something came")
    except asyncio.TimeoutError:
        pass
    port.close()
    assert uart.ended
    print("passed")

asyncio.run(run())
"""


def test_a_uart_is_read_and_written_as_any_port(tmp_path):
    program = interpreter.find()
    assert program, interpreter.MISSING
    done = subprocess.run(
        [program, "-c", SCRIPT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=interpreter.environment(tmp_path, tmp_path) | {"HOME": os.devnull},
        timeout=30,
        check=False,
    )
    assert done.stdout == "passed\n", done.stdout + done.stderr
