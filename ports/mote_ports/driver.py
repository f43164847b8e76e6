"""The driver: performs what the agent decides, on asyncio, on both runtimes.

Whatever happens (a packet, a tool that ended, a timer) ends in `_pump`: it runs the agent's
effects, sends what the link and the session have due, and returns. `_work` calls it on every
wake-up and at the next deadline; it is the only place that waits for the stream to drain.
What the agent or the log raise (a failing flash, no memory) is not survivable here: `run` raises
it, and whoever called it starts again from the log, as after a reboot. From then on this driver's
tasks, should one not end, leave the log alone.
"""

import asyncio
import json

from mote import mqtt
from mote import records as r
from mote.agent import Refused
from mote.turn import CALL, PUBLISH

from .connection import Connection
from .outbox import Outbox

_LONG_MS = 60000
_BUSY_MS = 5000  # the longest pause while a tool runs
_SILENCE_MS = 5000
_SUBACK_MS = 30000  # the longest wait for the broker's SUBACKs
_ERROR_CODES = 0x80  # reason codes from here on are errors (MQTT 5.0, 2.4)
_PERSISTENCE = 100  # hundredths of a second for tasks to clean up, and again to be cancelled in
_TROUBLE = "%s: nothing goes there until `mote forks` there is settled; was this log copied?"
_AGREED = "the gateway and this log agree again"
_WITH_WILL = 4  # DISCONNECT: publish the will (MQTT 5.0, 3.14.2.1)
_FAREWELL_S = 1
_LEAST_PACKET = 1024  # any answer fits, if it is cut
_TINY = "the broker takes packets of %d bytes at most: %d are needed"
OFFLINE = b'{"online": false}'  # the will, on the topic `state`


class Driver:
    """Runs one device. `dial()` opens a Stream; `report(text, detail=False)` tells a person."""

    def __init__(
        self,
        device,
        agent,
        link,
        session,
        dial,
        report,
        now_ms,
        silence_s,
        expiry_s=86400,
        gather_bytes=512,
    ):
        self.agent = agent
        self.link = link
        self.session = session
        self._topic = "mote/%s/" % device
        self._report = report
        self._now_ms = now_ms
        self._net = Connection(session, dial, self, report, now_ms, silence_s, gather_bytes)
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._failure = None
        self._online = False
        self.stuck = False  # a tool did not end when it had to
        self._troubled = None  # what the link's trouble was when it was told
        self.skipped = 0  # messages that were too large
        self._silent_at = None  # when silence is worth a word
        self._out = Outbox(
            agent, session, self._net, self._topic + "out", expiry_s, report, now_ms
        )
        self._present = False  # the broker kept the session
        self._subscribing = {}  # packet identifier of a SUBSCRIBE: its topic
        self._running = {}  # seq of the ASK -> task of its tool

    async def run(self):
        """Until `stop`. Raises what the log raised."""
        tasks = [None, None]  # filled in place: no task may be lost for want of memory
        try:
            tasks[0] = asyncio.create_task(self._keep(self._work()))
            tasks[1] = asyncio.create_task(self._keep(self._net.run()))
            while not self._stop.is_set() and not any(task.done() for task in tasks):
                try:
                    await asyncio.wait_for(self._stop.wait(), _LONG_MS / 1000)
                except asyncio.TimeoutError:
                    pass
            if not self._stop.is_set():
                raise RuntimeError("a part of the driver ended")
        finally:
            self._stop.set()
            await self._say_goodbye()
            tasks.extend(self._running.values())
            await self._end([task for task in tasks if task])
        if self._failure:
            raise self._failure

    async def _say_goodbye(self):
        """Tell the broker that this is no accident, if it can be told at once."""
        self._net.leaving = True
        if not self._online:
            return
        self._online = False
        try:
            self._write_farewell()
            await asyncio.wait_for(self._net.drain(), _FAREWELL_S)
        except Exception:  # noqa: S110 (whatever ends this life may keep it from saying so)
            pass  # MP: somebody may drain already

    def _write_farewell(self):
        if not self._failure:  # what the gateway has, a lost log gets back
            self.link.hurry()
            self._send_up(self._now_ms())
        if self.session.level == 4:  # its DISCONNECT would drop the will
            self._net.write(self.session.publish(self._topic + "state", OFFLINE, retain=True))
        self._net.write(self.session.disconnect(_WITH_WILL))

    async def _end(self, tasks):
        """Cancel them, and wait for a while."""
        for task in tasks:
            task.cancel()
        for n in range(2 * _PERSISTENCE):
            for task in tasks:
                if n >= _PERSISTENCE and not task.done():
                    task.cancel()  # again: wait_for of CPython 3.11 may swallow one
            if not all(task.done() for task in tasks):
                await asyncio.sleep(0.01)
        self.stuck = not all(task.done() for task in tasks)

    def stop(self):
        """End `run`."""
        self._stop.set()

    async def _keep(self, coroutine):
        """Run a part of the driver; what it raises ends all of it."""
        try:
            await coroutine
        except asyncio.CancelledError:
            raise
        except Exception as e:
            self._fail(e)

    def _fail(self, error):
        self._failure = self._failure or error
        self._stop.set()

    # -- the loop

    async def _work(self):
        while not self._stop.is_set():
            self._wake.clear()
            self._pump()
            if self._online:  # before that, the connection drains: one at a time may
                await self._out.send()
                await self._net.drain()
            else:
                self._net.flush()
            try:
                await asyncio.wait_for(self._wake.wait(), self._pause_ms() / 1000)
            except asyncio.TimeoutError:
                pass

    def _pause_ms(self):
        now = self._now_ms()
        times = [self.agent.deadline(), self.link.deadline(), self._silent_at]
        if self._online:
            times.append(self._out.deadline())
        if self._net.stream:
            times.append(self.session.deadline())
        longest = now + (_BUSY_MS if self._running else _LONG_MS)
        return max(0, min([t for t in times if t is not None] + [longest]) - now)

    def _pump(self):
        now = self._now_ms()
        self.agent.tick(now)
        self._bury()
        effect = self.agent.next_effect()
        while effect:
            self._perform(effect)
            effect = self.agent.next_effect()
        self._notice_silence(now)
        if self._online:
            self._send_up(now)
        self.agent.tidy()
        if self._net.stream:
            try:
                ping = self.session.poll(now)
            except mqtt.ProtocolError:
                return  # the reader's own time-out ends the connection
            if ping:
                self._net.write(ping)

    def _send_up(self, now):
        message = self.link.poll(now)
        while message:
            self._net.write(self.session.publish(self._topic + "up", message, often=True))
            message = self.link.poll(now)

    def _notice_silence(self, now):
        """Say it once if no gateway has answered since the broker let us in."""
        if self._silent_at is not None and now >= self._silent_at:
            self._silent_at = None
            if not self._online:
                self._net.hang_up("the broker does not answer SUBSCRIBE")
            elif not self.link.unix_s(now):
                self._report("no gateway answers: does one run, is this device enrolled there?")

    def _perform(self, effect):
        if effect[0] == PUBLISH:
            if self._online:  # else it is handed out again when the broker is back
                self._out.add(effect[1], effect[2])
        elif effect[0] == CALL:
            _, turn, tool, args = effect
            self._report("%s %s" % (tool.name, args), detail=True)
            task = asyncio.create_task(self._keep(self._tool(turn, tool, args)))
            self._running[turn.seq] = task
        else:
            turn = effect[1]
            task = self._running.get(turn.seq)
            if task:
                task.cancel()
            else:  # it never began, or its end was not recorded
                self.agent.result(turn, r.STOPPED, "stopped; outcome unknown")

    # -- tools

    def _bury(self):
        """Record the end of calls whose task ended without doing so, cancelled before it began."""
        for seq in list(self._running):
            if self._running[seq].done():
                self._running.pop(seq)
                turn = self.agent.state.turn(seq)
                if turn and turn.running:
                    self.agent.result(turn, r.STOPPED, "stopped; outcome unknown")

    async def _tool(self, turn, tool, args):
        """Run one call and record its result, whatever the tool does."""
        began = self._now_ms()
        try:
            out = tool.run(**args)
            if hasattr(out, "send"):  # MP: a coroutine is a generator
                out = await asyncio.wait_for(out, tool.timeout_s)
            status, text = r.OK, result_text(out)
        except asyncio.TimeoutError as e:
            status, text = r.LATE, "no result within %d s" % tool.timeout_s
            if self._now_ms() - began < 900 * tool.timeout_s:  # the tool's own
                status, text = r.ERROR, _explain(e)
        except asyncio.CancelledError:
            status, text = r.STOPPED, "stopped"
        except (Exception, SystemExit) as e:  # in whatever way it fails: the model is told
            status, text = r.ERROR, _explain(e)
        if self._stop.is_set():
            return  # what becomes of the call is decided at the next boot
        if tool.effect == r.ONCE and status in (r.LATE, r.STOPPED):
            text += "; it was started, its outcome is unknown"
        self._running.pop(turn.seq, None)
        if turn.running:
            self.agent.result(turn, status, text)
        self._wake.set()

    # -- what the connection tells

    def event(self, event):
        """An event of the session."""
        kind = event[0]
        if kind == mqtt.MESSAGE:
            self._message(event[1], event[2], event[4], event[6])
        elif kind == mqtt.CONNECTED:
            self._present = event[1]
            if self.session.packet_max < _LEAST_PACKET:
                self._net.hang_up(_TINY % (self.session.packet_max, _LEAST_PACKET))
            else:
                self._silent_at = self._now_ms() + _SUBACK_MS
                self._subscribe()
        elif kind == mqtt.SUBACK:
            self._subscribed(self._subscribing.pop(event[1], None), event[2])
        elif kind == mqtt.PUBACK:
            self._out.acknowledged(event[1], event[2])
        elif kind == mqtt.SKIPPED:
            self.skipped += 1
            self._refuse("", "", "a message of %d bytes is too large" % event[1])
            if event[2]:
                self._net.write(self.session.puback(event[2]))
        self._wake.set()

    def offline(self):
        """The connection ended."""
        self._online = False
        self._silent_at = None
        self.link.lost()

    def _subscribe(self):
        self._subscribing.clear()
        for topic, qos in (("in", 1), ("dn", 0)):
            pid = self.session.next_pid()
            self._subscribing[pid] = self._topic + topic
            self._net.write(self.session.subscribe(self._topic + topic, qos, pid))

    def _subscribed(self, topic, code):
        if topic and code >= _ERROR_CODES:
            from .reasons import reason  # only who is refused loads it

            self._net.hang_up("the broker refuses to let us read %s: %s" % (topic, reason(code)))
        elif topic and not self._subscribing:
            self._up()

    def _up(self):
        self._online = True
        self._report("connected, MQTT %s" % ("5" if self.session.level == 5 else "3.1.1"))
        state = b'{"online": true, "epoch": %d}' % self.agent.epoch
        self._net.write(self.session.publish(self._topic + "state", state, retain=True))
        self._out.connected(self._present)
        self.link.connected(self._now_ms(), self.session.room(self._topic + "up"))
        self._silent_at = self._now_ms() + _SILENCE_MS
        self.agent.publish_again()

    def _message(self, topic, payload, pid, retained):
        if topic == self._topic + "dn":
            self.link.receive(payload, self._now_ms())
            if self.link.trouble != self._troubled:
                self._troubled = self.link.trouble
                self._report(_TROUBLE % self._troubled if self._troubled else _AGREED)
            return
        if retained:  # it would be asked again at each connection
            self._refuse("", "", "a retained message is not an ask")
        else:
            self._ask(payload)
        if pid:
            self._net.write(self.session.puback(pid))

    def _ask(self, payload):
        from .inbox import BadAsk, parse_ask  # not before there is one

        try:
            text, session, name = parse_ask(payload)
        except BadAsk as e:
            self._refuse(e.session, e.name, str(e))
            return
        except (ValueError, RuntimeError, MemoryError) as e:
            # whatever is in a message, it may not take the daemon with it, nor come back
            self._refuse("", "", "the ask can't be read: %s" % type(e).__name__)
            return
        now = self._now_ms()
        try:
            seq = self.agent.ask(text, session, name, now, self.link.unix_s(now))
            self._report("ask %d in session %s: %s" % (seq, session, text), detail=True)
        except Refused as e:
            self._refuse(session, name, str(e))

    def _refuse(self, session, name, why):
        from .answers import refusal

        self._report("ask refused: " + why)
        answer = refusal(session, name, why)
        if len(answer) <= self.session.room(self._topic + "out") and not self._net.crowded:
            self._net.write(self.session.publish(self._topic + "out", answer))


def result_text(value):
    """What a tool returned, as text for the model: strings as they are, the rest as JSON."""
    if value is None:
        return "done"
    from .text import is_unicode

    text = value if isinstance(value, str) else json.dumps(value)
    return text if is_unicode(text) else repr(text.encode("utf-8", "replace"))


def _explain(error):
    try:
        return result_text("%s: %s" % (type(error).__name__, error))
    except Exception:
        return type(error).__name__  # its own text failed
