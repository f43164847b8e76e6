"""A device that lives on a medium. Portable.

`Life` is one power-on: it opens the log and performs a script of asks to which everything
happens; the world of tests/core/outside.py watches. After an accident `recover` ends what was
begun, and holds what the device has against what the world knows.
"""

from helpers import DEVICE, KEY, digest16, pack_reply, said
from mote import records as r
from mote import wire
from mote.agent import Agent
from mote.gate import Refused
from mote.log import Log, genesis
from mote.lookup import fact_at
from mote.state import key_of
from mote.tools import Toolset, integer, tool
from mote.turn import CALL, STOP, WAITING, Limits
from outside import OUT, PLANS, Broken, hold

RECORD = 160  # bytes of a record at most
PART = 24  # bytes of a reply in one message

# asks that are open together, whether there is time to tidy up, whether the device is restarted
ROUNDS = (
    ((0, 1), True, False),
    ((2, 3), False, False),
    ((4,), True, True),
    ((5, 6), False, False),
    ((7,), True, False),
    ((8, 9), True, False),
)
UPLOAD = 12  # rounds from one upload to the next ones: the ring drops what nobody has


class Few(Limits):
    """Limits for small segments."""

    open_turns = 3
    steps = 4
    calls = 6
    restarts = 9
    ask_bytes = 32
    result_bytes = 48
    reply_bytes = 128
    seen_asks = 4
    sessions = 3
    facts = 3
    part_bytes = PART
    drop = True

    def worst_turn(self, unit):
        """What the longest of the plans needs."""
        return 700 + 14 * unit


class Life:
    """One power-on of the device on a medium, from opening the log to whatever ends it."""

    def __init__(self, medium, world, sound=True):
        self.world = world
        sign = wire.subkey(KEY, "log").sign
        self.log = log = Log(medium, genesis(DEVICE), sign, RECORD)
        self.agent = agent = Agent(log, Toolset(self._tools()), Few())
        self._watch_fold(agent.state, log, sound)
        agent.open(world.now_ms, b"12345678", ["pump"], "test")
        agent.sure = True  # as if a gateway had said so

    def _watch_fold(self, state, log, sound):
        world, fold, open_ = self.world, state.fold, log.open

        def folding(seq, h, kind, payload):
            fold(seq, h, kind, payload)
            world.folded(seq, h, state)

        def opening(restore, visit):
            world.opening = True
            open_(restore, visit)
            world.opening = False
            world.opened(log, state, sound)

        state.fold, log.open = folding, opening

    def _tools(self):
        made = []
        for name, effect in (("look", 0), ("put", 1), ("pour", 2), ("keep", 1)):
            made.append(tool("A tool.", effect, integer("n", 0, 99999))(self._running(name)))
            made[-1].name = name
        return made

    def _running(self, name):
        def run(n):
            self.world.run(name, n)
            if name == "keep":
                self._keep("key %d" % (n % 4), "value %d" % n)
            return n

        return run

    def _keep(self, key, value):
        """Remember one fact, and forget another when there are too many."""
        fact = self.world.facts.setdefault(key, [None, None])
        keys = [row[0] for row in self.agent.state.facts]
        if key not in keys and len(keys) == Few.facts:
            gone = self.world.facts[keys[0]]
            gone[1] = None
            self.agent.remember(keys[0], None)
            gone[0] = None
        fact[1] = value
        self.agent.remember(key, value)
        fact[0] = value

    # -- the script

    def round(self, n):
        """Do the nth round of the script; True if the device is to be restarted then."""
        asks, tidy, restart = ROUNDS[n % len(ROUNDS)]
        base = n // len(ROUNDS) * len(PLANS)
        for i in asks:
            self.ask(base + i)
        self.close()
        if n % UPLOAD in (0, 1, 2):
            self.upload()
        if tidy:
            self.agent.tidy()
        return restart

    def fresh(self, n):
        """The number of a round like the nth, whose asks nobody has asked yet."""
        rounds = len(ROUNDS)
        return (max(self.world.asked + [-1]) // len(PLANS) + 1) * rounds + n % rounds

    def ask(self, number):
        """Ask, or ask again, and note that it was acknowledged."""
        world, agent = self.world, self.agent
        session, _, special = PLANS[number % len(PLANS)]
        if number not in world.asked:
            world.asked.append(number)
            world.now_ms += 10000
        if special == "refused":
            try:
                agent.ask("", session, "", world.now_ms, 0)
            except Refused:
                pass
        name = "a%d" % number
        seq = agent.ask("do %d" % number, session, name, world.now_ms, 1000 + number)
        world.depends(seq)
        world.took.append(number)

    def close(self):
        """Go on until no turn is open."""
        self.settle()
        while self.agent.turns:
            waiting = [turn for turn in self.agent.turns if turn.state == WAITING]
            hold("stuck", waiting, [turn.__dict__ for turn in self.agent.turns])
            for turn in waiting:
                if turn.state == WAITING and not turn.ending:
                    self._reply(turn, self._number(turn))
            self.settle()

    def upload(self):
        """The gateway gets all that there is, and says so."""
        self.log.sync()
        self.world.depends(self.log.seq)
        self.agent.confirmed(self.log.seq)

    def _number(self, turn):
        for number in self.world.asked[-6:]:
            if key_of("a%d" % number) == turn.key:
                return number
        raise Broken("answer", "a turn that nobody asked for")

    def _reply(self, turn, number):
        """The model sends the next bytes, or something else happens."""
        world, agent = self.world, self.agent
        world.depends(turn.req)
        special = PLANS[number % len(PLANS)][2]
        if special == "fail" and turn.steps == 2:
            return agent.fail(turn, "no model")
        if special == "cancel" and turn.got:
            return agent.cancel(turn.session)
        if special == "late" and turn.got:
            world.now_ms += agent.limits.turn_ms
            return agent.tick(world.now_ms)
        if special == "end" and turn.steps == 2:
            return agent.end(turn.seq, "cannot go on")
        data, calls = reply(number, turn.steps - 1)
        if turn.got < len(data):
            return agent.part(turn, turn.got, data[turn.got : turn.got + PART])
        return agent.reply_end(turn, len(data), digest16(data), calls, 10)

    def settle(self):
        """Perform effects until none is due."""
        effect = self.agent.next_effect()
        while effect:
            if effect[0] == CALL:
                self._call(effect[1], effect[2], effect[3])
            elif effect[0] == STOP:
                self.agent.result(effect[1], r.STOPPED, "stopped")
            else:
                self._publish(effect[1], effect[2])
            effect = self.agent.next_effect()

    def _call(self, turn, tool_, args):
        if tool_.effect == r.ONCE:
            self.world.depends(turn.req)  # START has been synced with it, `lost` will tell
            self.world.depends(self.agent.state.seq)
        value = tool_.run(**args)
        if PLANS[self._number(turn) % len(PLANS)][2] == "stop":
            self.agent.cancel(turn.session)  # while it runs
        else:
            self.agent.result(turn, r.OK, str(value))

    def _publish(self, seq, answer):
        world = self.world
        _, name, how, text = said(self.agent, seq, answer)
        world.depends(answer)
        number = int(name[1:])
        special = PLANS[number % len(PLANS)][2]
        if special == "lost" and world.happens("lost", number):
            self.ask(number)  # nobody heard it
            return
        world.hear(number, how, text)
        self.agent.sent(seq)
        if special == "twice" and world.happens("twice", number):
            self.ask(number)

    # -- after an accident

    def recover(self, repeat=True, more=1):
        """End what was begun, then do `more` rounds; hold all against the world.

        `repeat`: the asker asks again until there is an answer, else until it is acknowledged.
        """
        world = self.world
        for number in world.asked[-4:]:
            if number not in world.heard and (repeat or number not in world.took):
                self._ask_patiently(number)
        self.close()
        for number in world.asked:
            hold("answer", number in world.heard, "ask %d has none" % number)
        self._check_facts()
        if world.asked:
            self.agent.tidy()
        fresh = self.fresh(self.log.seq)
        for n in range(fresh, fresh + more):
            self.round(n)
        self.log.sync()
        self._check_chain()

    def go_on(self):
        """The same after an exception that the agent got over: what was due is due again."""
        agent = self.agent
        turn = agent.state.turn(agent.at)
        if turn and not turn.answer:
            agent.end(turn.seq, OUT)
        agent.publish_again()
        self.recover()

    def _ask_patiently(self, number):
        try:
            self.ask(number)
        except Refused:  # the turns that are open need what room there is
            self.close()
            self.ask(number)

    def _check_facts(self):
        known = {}
        for key, seq in self.agent.state.facts:
            known[key] = fact_at(self.log, seq)
        for key in self.world.facts:
            allowed = self.world.facts[key]
            hold("fact", known.get(key) in allowed, (key, known.get(key), allowed))

    def _check_chain(self):
        """All that is kept has the hashes that it had, from each segment's header on."""
        log, shadow = self.log, self.world.shadow
        segments = log.segments()
        ends = [first - 1 for first, _, _ in segments[1:]] + [log.seq]
        more = (log.seq % len(segments), len(segments) - 1)
        for n, (first, _, before) in enumerate(segments):
            last = ends[n]
            hold("chain", before == shadow[first - 1][0], "a header before record %d" % first)
            # the hash of the last one is one over all; others of two segments, as it takes long
            for seq in (first, last - 1, last) if n in more else (last,):
                if first <= seq <= last:
                    h = log.hash_at(seq)
                    hold("chain", h == shadow[seq][0], "record %d is another one" % seq)


def reply(number, step):
    """(bytes, calls) of the model's reply to an ask in that step."""
    names = PLANS[number % len(PLANS)][1][step]
    first = number * 10 + step * 4
    calls = [(name, {"n": first + i}) for i, name in enumerate(names)]
    return pack_reply(calls, "" if names else "answer %d" % number), len(calls)


def script(medium, world, rounds):
    """Live through rounds, with restarts; returns the last life."""
    life = Life(medium, world)
    for n in range(rounds):
        if life.round(n):
            life = Life(medium, world)
    life.log.sync()
    return life
