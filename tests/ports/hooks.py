"""Beds whose broker is watched, or misbehaves in the middle of a long answer. Portable."""

import asyncio

from bed import Bed
from chip import Chip
from helpers import pack_reply
from mote.turn import Limits


def long_reply(size):
    return pack_reply([], "".join(["%07d\n" % n for n in range(size // 8)]))


def big_bed(size):
    limits = Limits()
    limits.reply_bytes = 65536
    data = long_reply(size)
    return Bed([(data, 0, 10)], chip=Chip(1, 8, 262144), limits=limits), data


def hooked(bed, hook):
    """Have `hook(stream)` called for each connection."""
    dial = bed.broker.dial

    async def dialled():
        stream = await dial()
        hook(stream)
        return stream

    bed.broker.dial = dialled


def watched(bed):
    """The sizes of all writes."""
    sizes = []

    def hook(stream):
        write = stream.write

        def watch(data):
            sizes.append(len(data))
            write(data)

        stream.write = watch

    hooked(bed, hook)
    return sizes


def interrupted(bed, interrupt):
    """Call `interrupt` in the middle of the first answer."""
    left = [interrupt]

    def hook(stream):
        drain = stream.drain

        async def drained():
            if len(stream._sent) > 5000 and left:
                left.pop()()
                await asyncio.sleep(1)
            await drain()

        stream.drain = drained

    hooked(bed, hook)
    return left


def forever(bed, strike):
    """Have the first connection's drain wait for ever in the middle of the answer."""
    left = [1]

    def hook(stream):
        drain, read = stream.drain, stream.read
        stuck = []

        async def drained():
            if len(stream._sent) > 5000 and left:
                left.pop()
                stuck.append(1)
                strike()
            if stuck:
                await asyncio.Event().wait()
            await drain()

        async def silent(buf):
            if stuck:
                await asyncio.Event().wait()
            return await read(buf)

        stream.drain, stream.read = drained, silent

    hooked(bed, hook)
