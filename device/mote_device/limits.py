"""The core's limits from the configuration, and whether they and the log fit together."""

from mote.lookup import FACT_KEY, FACT_VALUE
from mote.turn import Limits

from . import ConfigError

_FIELDS = 128  # of a record: all fields but its text
_FACT = FACT_KEY + FACT_VALUE + 24  # bytes of a fact's record, framed
_SAME = (
    "open_turns",
    "steps",
    "calls",
    "tokens",
    "restarts",
    "ask_bytes",
    "result_bytes",
    "reply_bytes",
    "asks_per_hour",
    "asks_burst",
    "seen_asks",
    "sessions",
    "facts",
)


def limits_of(config):
    """The core's limits. Raises ConfigError where two of them, or they and the log, clash."""
    limits, given, log = Limits(), config.limits, config.log
    for name in _SAME:
        setattr(limits, name, getattr(given, name))
    limits.turn_ms = given.turn_s * 1000
    limits.part_bytes = min(limits.part_bytes, log.record_bytes - _FIELDS)
    limits.drop = log.when_full == "drop"
    for name in ("ask_bytes", "result_bytes"):
        if getattr(limits, name) > log.record_bytes - _FIELDS:
            raise ConfigError(
                "%s: [limits] %s must be at most %d: [log] record_bytes less %d"
                % (config.path, name, log.record_bytes - _FIELDS, _FIELDS)
            )
    limits.seen_asks = max(limits.seen_asks, limits.open_turns)
    _check_log(config, limits)
    return limits


def _check_log(config, limits):
    """Whether the log that is configured can hold what the limits allow."""
    log = config.log
    size = log.segment_kib * 1024
    part = size // 16
    for need, share, what in (
        (limits.checkpoint_bytes(), 16, "a checkpoint"),
        (limits.facts * _FACT, 4, "facts"),
    ):
        if need * share > size:
            raise ConfigError(
                "%s: [log] segment_kib must be at least %d: with these [limits] (open_turns, "
                "seen_asks, sessions, facts) %s may take %d bytes, of which it must hold %d times "
                "as many" % (config.path, (need * share + 1023) // 1024, what, need, share)
            )
    # one segment is the spare, and what does not fit at the end of another begins the next
    room = (log.segments - 1) * (size - part - log.record_bytes - _FIELDS)
    worst = limits.worst_turn(log.program_unit)
    if 2 * worst > room:
        raise ConfigError(
            "%s: [log] is too small: a turn within [limits] may write %d bytes, the log must hold "
            "two such turns and holds %d bytes" % (config.path, worst, room)
        )
