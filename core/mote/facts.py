"""The tools `remember` and `recall`: facts that outlive their records and every conversation."""

from .lookup import FACT_VALUE
from .records import IDEMPOTENT, READ
from .tools import Tool, text


class Facts:
    """Makes the two tools; `agent` must be set before one of them runs."""

    def __init__(self):
        self.agent = None

    def tools(self):
        """[remember, recall]."""
        key = text("key", 32, "what it is about")
        value = text("value", FACT_VALUE, "empty: forget it")
        every = text("key", 32, "empty: all facts")
        return [
            Tool(
                self._remember,
                "remember",
                "Keep a fact for good, or forget it.",
                IDEMPOTENT,
                (key, value),
                5,
                (),
            ),
            Tool(self._recall, "recall", "Read a remembered fact.", READ, (every,), 5, ()),
        ]

    def _remember(self, key, value):
        self.agent.remember(key, value or None)
        return "remembered" if value else "forgotten"

    def _recall(self, key):
        from .lookup import fact_at

        agent = self.agent
        found = [
            "%s: %s" % (name, fact_at(agent.log, seq) or "(lost: its record is damaged)")
            for name, seq in agent.state.facts
            if key in ("", name)
        ]
        return "\n".join(found) if found else "nothing is remembered"
