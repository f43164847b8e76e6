"""The packets that a connected client sends, within what the server's CONNACK allows."""

from .packets import ProtocolError, Writer


class Outgoing:
    """Makes packets in one buffer of `tx_bytes`. `Session` has the connection they belong to.

    `max_qos`, `receive_max` and `packet_max` are the server's (MQTT 5.0, 3.2.2.3).
    """

    def __init__(self, tx_bytes):
        self._tx = Writer(tx_bytes)
        self._pid = 0
        self._v5 = 1  # or 0, of this connection
        self._now = self._sent = 0

    def publish(self, topic, payload, qos=0, retain=False, pid=0, dup=False, often=False):
        """PUBLISH. ValueError if it breaks `tx_bytes` or the server's size or QoS limit.

        One topic that is published to `often` goes as a topic alias where the server allows it.
        """
        often = often and self._aliases > 0
        tx = self._intro(topic, qos, pid, 0, often)
        tx.raw(payload)
        packet = tx.end(0x30 | dup << 3 | qos << 1 | (retain and self._retains))
        if often:
            self._aliased = topic
        return packet

    def publish_head(self, topic, size, qos=0, pid=0, dup=False, expiry_s=0):
        """PUBLISH without its payload, of which `size` bytes must follow before all else.

        The message expires if nobody takes it for `expiry_s` (0: never). ValueError as in
        publish(), but that `tx_bytes` does not bound the payload.
        """
        tx = self._intro(topic, qos, pid, expiry_s)
        packet = tx.end(0x30 | dup << 3 | qos << 1, size)
        if len(packet) + size > self.packet_max:
            raise ValueError("packet over %d bytes" % self.packet_max)
        return packet

    def room(self, topic):
        """Bytes of a payload that publish() takes at the least, with QoS 0."""
        return self._tx.limit - len(topic) - 11

    def _intro(self, topic, qos, pid, expiry_s, often=False):
        if qos > self.max_qos:
            raise ValueError("QoS too high")
        tx = self._begin()
        tx.data("" if often and topic == self._aliased else topic)
        if qos:
            if not pid:
                raise ValueError("packet id 0")
            tx.uint(pid, 2)
        if self._v5 and expiry_s:
            tx.uint(0x0502, 2)  # 5 bytes of properties; Message Expiry Interval
            tx.uint(expiry_s, 4)
        elif often:
            tx.uint(0x03230001, 4)  # 3 bytes of properties; Topic Alias: 1
        else:
            tx.uint(0, self._v5)
        return tx

    def subscribe(self, topic, qos, pid):
        """SUBSCRIBE to one topic filter with QoS 0 or 1. ValueError as in publish()."""
        if qos > 1:
            raise ValueError("QoS too high")
        tx = self._begin()
        tx.uint(pid, 2)
        tx.uint(0, self._v5)
        tx.data(topic)
        tx.uint(qos, 1)
        return tx.end(0x82)

    def next_pid(self):
        """The next packet identifier, 1..65535 and round again."""
        self._pid = self._pid % 65535 + 1
        return self._pid

    def _limits(self, found):
        # What the server allows; the other properties of CONNACK change nothing for us.
        tx = self._tx
        self.packet_max = found.get(0x27, 1 << 28)
        tx.limit = min(tx.size, self.packet_max)
        self.receive_max = found.get(0x21, 65535)
        self.max_qos = found.get(0x24, 1)
        self._retains = found.get(0x25, 1)
        self._aliases = found.get(0x22, 0)
        self._aliased = None  # the topic that has alias 1
        if not tx.limit or not self.receive_max or self.max_qos > 1:
            raise ProtocolError("bad CONNACK")

    def _begin(self):
        self._sent = self._now
        self._tx.start()
        return self._tx
