"""A device that is a process on Linux: moted's, from its configuration to its lock and signals."""

import os

from mote.facts import Facts
from mote_ports.files import FileMedium, make_folders
from mote_ports.lock import Lock
from mote_ports.streams import connect
from mote_ports.system import exit_signals, now_ms

from .boards import make_board
from .config import read_key, read_secret
from .daemon import Daemon
from .limits import limits_of
from .loader import load_tools
from .transport import serial_port, tls_of, where


class Process:
    """What Daemon takes for a device, as a checked configuration says. Raises ConfigError."""

    advice = "keep the state folder, enroll the device again"
    lives = 0  # that may fail in a row; 0: any number
    gather_bytes = 512  # each write costs a segment of TCP, with TLS a record

    def __init__(self, config):
        device, broker = config.device, config.broker
        self._config = config
        self.name = device.name
        self.key = read_key(device.key_file)
        self.user = broker.user or None
        self.password = read_secret(broker.password_file) if broker.password_file else None
        self.keepalive_s = broker.keepalive_s
        self.session_expiry_s = broker.session_expiry_s
        self.record_bytes = config.log.record_bytes
        self.now_ms = now_ms
        self._serial = serial_port(config)
        self._tls = tls_of(config)
        self.board = make_board(device.board, device.world_file, device.time_scale)
        self.limits = limits_of(config)
        self.facts = Facts()
        own = list(self.board.tools) + (self.facts.tools() if self.limits.facts else [])
        self.tools = load_tools(own, config.tools.path, config.tools.modules)

    def check(self):
        """One line about what would run."""
        config = self._config
        return "%s: %d tools, broker %s, state in %s" % (
            self.name,
            len(self.tools.tools),
            where(config.broker),
            config.device.state_dir,
        )

    def open_medium(self):
        """The log's files."""
        log = self._config.log
        return FileMedium(
            self._config.device.state_dir + "/log",
            log.segments,
            log.segment_kib * 1024,
            log.program_unit,
        )

    async def dial(self):
        """A Stream to the broker."""
        if self._serial:
            return await self._serial.dial()
        broker = self._config.broker
        return await connect(broker.host, broker.port, self._tls)

    async def run(self, report):
        """Until a signal, with the state folder locked. Raises Locked, UnknownRecord, OSError."""
        daemon = Daemon(self, report)
        exit_signals(daemon.stop)
        state = self._config.device.state_dir
        make_folders(state + "/log")
        lock = Lock(state)
        lock.take()
        try:
            await daemon.run()
        finally:
            lock.release()
            if daemon.stuck:
                report("a tool does not end; leaving it")
                os._exit(1)
