"""The serial port's writers share its descriptor: here the end of a pipe, which is full or not."""

import asyncio
import os

import pytest
from mote_host.serial_port import SerialPort

WAIT_S = 10


@pytest.fixture
def pipe():
    """A port whose line is full, and the descriptor at its other end."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    port = SerialPort("/dev/null", 115200)
    port._fd = writer
    yield port, reader
    os.close(reader)
    os.close(writer)


def fill(port):
    try:
        while True:
            os.write(port._fd, b"x" * 4096)
    except BlockingIOError:
        pass


def drain(reader):
    data = b""
    try:
        while True:
            data += os.read(reader, 65536)
    except BlockingIOError:
        return data


async def test_two_writers_wait_for_room_and_both_go_on(pipe):
    port, reader = pipe
    fill(port)
    tasks = [asyncio.create_task(port.write(word)) for word in (b"farewell", b"connack")]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    drain(reader)
    async with asyncio.timeout(WAIT_S):
        assert await asyncio.gather(*tasks) == [8, 7]
    assert drain(reader) == b"farewellconnack"


async def test_a_writer_that_is_cancelled_leaves_the_line_to_the_next(pipe):
    port, reader = pipe
    fill(port)
    tasks = [asyncio.create_task(port.write(word)) for word in (b"farewell", b"connack")]
    for _ in range(5):
        await asyncio.sleep(0)
    tasks[0].cancel()
    drain(reader)
    async with asyncio.timeout(WAIT_S):
        assert await tasks[1] == 7
    assert drain(reader) == b"connack"
