"""MQTT clients that publish with QoS 1 to a broker on loopback. Portable: MicroPython runs it.

    micropython -m tests.bench.publishers CLIENT PORT COUNT WINDOW [heap]

CLIENT is mote, umqtt or paho; COUNT messages are published, at most WINDOW of them at once
without their acknowledgement. Prints a JSON object: nanoseconds that this took; with "heap" bytes
of MicroPython's heap instead.
"""

import gc
import json
import select
import socket
import sys
import time

TOPIC = "bench/publish"
PAYLOAD = bytes(range(64))
_HOST = "127.0.0.1"
_KEEPALIVE_S = 60
_IPPROTO_TCP = 6  # MP: names neither
_TCP_NODELAY = 1
_EVERY = 50  # messages between two looks at the heap


class Mote:
    """mote's session over a socket."""

    def __init__(self, port):
        from mote import mqtt

        self._puback = mqtt.PUBACK
        self._session = mqtt.Session("bench-mote", keepalive_s=_KEEPALIVE_S)
        self._socket = socket.socket()
        self._socket.connect(socket.getaddrinfo(_HOST, port)[0][-1])
        _send_at_once(self._socket)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._buf = memoryview(bytearray(512))
        if hasattr(self._socket, "recv_into"):
            self._read, self._write = self._socket.recv_into, self._socket.sendall
        else:  # MP: reads what there is only if it does not block
            self._socket.setblocking(False)
            self._read, self._write = self._socket.readinto, self._socket.write
        self._write(self._session.connect(0))
        while not self._session.connected:
            self._receive()

    def publish(self, count, window):
        """Publish, and wait for all acknowledgements."""
        session = self._session
        sent = acknowledged = 0
        while acknowledged < count:
            while sent < count and sent - acknowledged < window:
                self._write(session.publish(TOPIC, PAYLOAD, 1, False, session.next_pid()))
                sent += 1
            acknowledged += self._receive()

    def _receive(self):
        """Take what arrives next; returns how many acknowledgements that were."""
        self._poll.poll()
        size = self._read(self._buf)
        if not size:
            raise OSError(0, "the broker hung up")
        at = found = 0
        while at < size:
            at += self._session.receive(self._buf[at:size], 0)
            event = self._session.next_event()
            if event and event[0] == self._puback:
                found += 1
        return found


class Umqtt:
    """umqtt.simple, which waits for each acknowledgement itself."""

    def __init__(self, port):
        from umqtt.simple import MQTTClient

        self._client = MQTTClient("bench-umqtt", _HOST, port, keepalive=_KEEPALIVE_S)
        self._client.connect()
        _send_at_once(self._client.sock)

    def publish(self, count, window):
        """Publish, and wait for all acknowledgements."""
        for _ in range(count):
            self._client.publish(TOPIC, PAYLOAD, qos=1)


class Paho:
    """paho-mqtt on one thread: its own loop is run between messages."""

    def __init__(self, port):
        from paho.mqtt import client as paho

        self._acknowledged = 0
        self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, "bench-paho", protocol=paho.MQTTv5
        )
        self._client.max_inflight_messages_set(1000)
        self._client.on_publish = self._count
        self._client.connect(_HOST, port, _KEEPALIVE_S)
        _send_at_once(self._client.socket())
        while not self._client.is_connected():
            self._client.loop()

    def publish(self, count, window):
        """Publish, and wait for all acknowledgements."""
        sent = self._acknowledged = 0
        while self._acknowledged < count:
            while sent < count and sent - self._acknowledged < window:
                self._client.publish(TOPIC, PAYLOAD, qos=1)
                sent += 1
            self._client.loop()

    def _count(self, *_):
        self._acknowledged += 1


def _send_at_once(sock):
    """Set TCP_NODELAY, or a message in several writes waits for delayed acknowledgements."""
    sock.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)


CLIENTS = {"mote": Mote, "umqtt": Umqtt, "paho": Paho}


def timed(make, port, count, window):
    """Nanoseconds from the first message to the last acknowledgement."""
    client = make(port)
    began = time.time_ns()
    client.publish(count, window)
    return {"ns": time.time_ns() - began}


def heaped(make, port, count):
    """Bytes of heap before the client; what it holds when connected, at most, at the end."""
    gc.collect()
    before = gc.mem_alloc()
    client = make(port)
    gc.collect()
    connected = peak = gc.mem_alloc()
    for _ in range(count // _EVERY):
        client.publish(_EVERY - 1, 1)
        gc.collect()
        client.publish(1, 1)
        peak = max(peak, gc.mem_alloc())
    gc.collect()
    after = gc.mem_alloc()
    held = {"connected": connected - before, "peak": peak - before, "after": after - before}
    held["before"] = before
    return held


def main(arguments):
    """Run what the command line says."""
    make = CLIENTS[arguments[0]]
    port, count, window = (int(word) for word in arguments[1:4])
    found = heaped(make, port, count) if "heap" in arguments else timed(make, port, count, window)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
