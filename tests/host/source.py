"""A log that the real core wrote, and uploads of any part of it."""

import hashlib

from fake_device import FakeDevice
from mote.log import chain, genesis
from mote_host.uplink import Hello, Upload


def chained(device):
    """Frames and chain hashes of its log, by number; frame 0 is empty, hash 0 the genesis."""
    log = device.agent.log
    frames = [b"", *(bytes(log.frame(n)) for n in range(1, log.seq + 1))]
    hashes = [genesis("fern")]
    for frame in frames[1:]:
        hashes.append(chain(hashes[-1], frame))
    return frames, hashes


class Source:
    """A log of two turns and a restart, and uploads of any part of it."""

    def __init__(self, text="water it", seed=1):
        device = FakeDevice("fern", bytes(32), seed=seed)
        device.ask(text)
        device.settle()
        turn = device.agent.turns[0]
        body = b"\x92\xa8run_pump\x81\xa7seconds\x03"
        device.agent.part(turn, 0, body)
        digest = hashlib.sha256(body).digest()[:16]
        device.agent.reply_end(turn, len(body), digest, 1, 40)
        device.settle()
        device.boot(["pump"])
        device.settle()
        device.ask("and again", session="kitchen")
        device.settle()
        device.agent.fail(device.agent.turns[0], "no model")
        device.settle()
        self.frames, self.hashes = chained(device)
        self.last = len(self.frames) - 1

    def upload(self, first, last):
        return Upload(
            1, first, self.hashes[first - 1][:16], b"".join(self.frames[first : last + 1])
        )

    def hello(self, before, head, epoch=1, nonce=b"n" * 8, count=1, boot=None):
        b, h = self.hashes[before][:16], self.hashes[head][:16]
        boot = boot or self.hashes[before + 1][:16]
        return Hello(epoch, nonce, before, b, boot, count, head, h, 1, 512)
