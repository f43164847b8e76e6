"""One life of a device without asyncio, streams and packets: the agent, the link and a pump."""

from typing import Any

from chip import PowerCut
from mote import records as r
from mote.gate import Refused
from mote.log import Lost
from mote.lookup import GONE
from mote.turn import CALL, PUBLISH
from mote_ports.answers import HOW, Answer, refusal
from mote_ports.inbox import BadAsk, parse_ask

from tests.simulation.broker import Connection
from tests.simulation.invariants import check_bounds


class Direct:
    """The driver's loop without asyncio: whatever happens, `_pump` runs soon behind it."""

    def __init__(self, device: Any, agent: Any, link: Any) -> None:
        self.agent, self.link = agent, link
        self._device = device
        self._clock = device.clock
        self._connection: Connection | None = None
        self._online = False
        self._over = False
        self._pid = 0
        self._flying: dict[int, int] = {}  # packet: ask
        self._running: dict[int, list[Any]] = {}  # ask: what is due of its tool
        self._wake: list[Any] | None = None
        self._wait_ms = 0
        self._stalled = 0

    def begin(self) -> None:
        """The life begins."""
        self._dial()
        self._soon()

    def end(self) -> None:
        """It is over."""
        self._over = True

    def stall(self, ms: int) -> None:
        """Do nothing for so long."""
        self._stalled = max(self._stalled, self._clock.now + ms)

    # -- the connection

    def _dial(self) -> None:
        if self._over or self._connection:
            return
        device = self._device
        self._connection = device.broker.connect(device)
        if not self._connection:
            self._wait_ms = min(2 * self._wait_ms, 30000) or 1000
            self._clock.after(self._wait_ms, self._dial)
            return
        self._wait_ms = 0
        self._clock.after(2 + device.broker.latency(), self._connected, self._connection)

    def _connected(self, connection: Connection) -> None:
        if self._connection is connection and not self._over:
            self._online = True
            most = max(0, self._device.packet_max - 30)
            self.link.connected(self._device.now(), most)
            self.agent.publish_again()
            self._soon()

    def hung_up(self, connection: Connection) -> None:
        """The connection is gone."""
        if self._connection is connection:
            self._connection, self._online = None, False
            self.link.lost()
            self._flying.clear()
            self._clock.after(1 + self._device.random.randrange(1000), self._dial)

    def arrived(self, tail: str, payload: bytes, pid: int) -> None:
        """A message from the broker."""
        if tail == "dn":
            self.link.receive(payload, self._device.now())
        else:
            self._ask(payload)
            if pid and self._connection:
                self._device.broker.acknowledge(self._connection, pid)
        self._soon()

    def acknowledged(self, pid: int) -> None:
        """The broker has an answer."""
        seq = self._flying.pop(pid, None)
        if seq is not None:
            self.agent.sent(seq)
        self._soon()

    def _ask(self, payload: bytes) -> None:
        device = self._device
        now = device.now()
        try:
            text, session, name = parse_ask(payload)
        except BadAsk as e:
            self._refuse(e.session, e.name, str(e))
            return
        try:
            seq = self.agent.ask(text, session, name, now, self.link.unix_s(now))
            device.trace(device.name, "accepted", f"ask {name or '-'} as {seq}")
        except Refused as e:
            device.trace(device.name, "refused", f"ask {name or '-'}: {e}")
            self._refuse(session, name, str(e))

    def _refuse(self, session: str, name: str, why: str) -> None:
        if self._connection:
            said = refusal(session, name, why)
            self._device.broker.publish(self._connection, self._device.name, "out", said)

    # -- the loop

    def _soon(self) -> None:
        self._at(self._clock.now)

    def _at(self, when: int) -> None:
        wake = self._wake
        if wake is not None:
            if wake[0] <= when:
                return
            self._clock.cancel(wake)
        self._wake = self._clock.at(when, self._woken)

    def _woken(self) -> None:
        self._wake = None
        if self._stalled > self._clock.now:
            self._at(self._stalled)
        elif not self._over:
            self._device.guard(self._pump)

    def _pump(self) -> None:
        device, agent, link = self._device, self.agent, self.link
        now = device.now()
        agent.tick(now)
        effect = agent.next_effect()
        while effect:
            self._perform(effect)
            effect = agent.next_effect()
        if self._connection and self._online:
            message = link.poll(now)
            while message is not None:
                data = bytes(message)
                device.up(data)
                device.broker.publish(self._connection, device.name, "up", data)
                message = link.poll(now)
        agent.tidy()
        check_bounds(device.name, agent, device.limits)
        due = [t for t in (agent.deadline(), link.deadline()) if t is not None]
        if due:
            self._at(max(self._clock.now + 1, device.when(min(due))))

    def _perform(self, effect: tuple[Any, ...]) -> None:
        if effect[0] == PUBLISH:
            if self._online:  # else it is handed out again at the next connection
                self._answer(effect[1], effect[2])
        elif effect[0] == CALL:
            _, turn, tool, args = effect
            key = turn.id, turn.index
            self._running[turn.seq] = self._clock.after(1, self._begin, turn, tool, args, key)
        else:
            turn = effect[1]
            self._clock.cancel(self._running.pop(turn.seq))
            self.agent.result(turn, r.STOPPED, "stopped")

    def _begin(self, turn: Any, tool: Any, args: Any, key: tuple[bytes, int]) -> None:
        if self._over:
            return
        try:
            ms = self._device.tools.begin(tool, args, key)
        except PowerCut:
            self._device.power_off("by a tool")
            return
        late = ms > tool.timeout_s * 1000
        ms = min(ms, tool.timeout_s * 1000)
        self._running[turn.seq] = self._clock.after(ms, self._finish, turn, tool, args, late)

    def _finish(self, turn: Any, tool: Any, args: Any, late: bool) -> None:
        if self._over:
            return
        self._running.pop(turn.seq, None)
        self._device.guard(self._record, turn, tool, args, late)
        self._soon()

    def _record(self, turn: Any, tool: Any, args: Any, late: bool) -> None:
        if late:
            status, text = r.LATE, "too late"
        else:
            status, text = self._device.tools.finish(tool, args)
        if turn.running:
            self.agent.result(turn, status, text)

    def _answer(self, seq: int, answer: int) -> None:
        device = self._device
        session, name, how, text = self.agent.answer(seq, answer)
        try:
            payload = Answer(session, name, how, text).whole()
        except Lost:
            how, payload = r.FAILED, Answer(session, name, r.FAILED, GONE).whole()
        device.history.answer(seq, answer, payload)
        device.trace(device.name, "answer", f"to {seq}: {HOW[how]}")
        self._pid = self._pid % 65535 + 1
        self._flying[self._pid] = seq
        assert self._connection
        device.broker.publish(self._connection, device.name, "out", payload, self._pid)
