"""What a device uploads, kept on its way to the gateway. Portable."""

from mote import wire
from mote.msgpack import Unpacker


class Uploads:
    """Keeps the UPLOAD messages of a line."""

    def __init__(self, made):
        self.messages = []
        self._receive = made.gateway.receive
        made.gateway.receive = self.receive

    def receive(self, message):
        """Pass it on."""
        message = bytes(message)
        if Unpacker(message[wire.MAC :]).value()[0] == wire.UPLOAD:
            self.messages.append(message)
        self._receive(message)

    def fields(self, n):
        """The fields of the nth one behind its type: epoch, a, id, frames, check, wanted."""
        return Unpacker(self.messages[n][wire.MAC :]).value()[1:]
