"""The kinds of records and what their payloads hold.

A payload is one MessagePack array; its fields stand in the order given here, and a newer core may
add fields at the end. `turn` is the sequence number of the turn's ASK, `req` that of a REQ: a
position means something only inside its own log.
"""

from .const import const

IGNORABLE = const(0x80)  # a core that does not know such a kind skips the record

BOOT = const(1)  # epoch, nonce (8 bytes), outputs that were reset [names], version, limits
ASK = const(2)  # session, ask id ("" if none), text, unix time (0: unknown), previous ASK
REQ = const(3)  # turn, hash of the tools (16 bytes), bundle (nil so far), reply limit in bytes
PART = const(4)  # req, the next bytes of the reply
REPLY_END = const(5)  # req, length, SHA-256 of the reply (16 bytes), calls in it, tokens used
FAIL = const(6)  # req, why the gateway can't answer it
START = const(7)  # req, index of the call, effect class, tool, arguments {name: value}
RESULT = const(8)  # req, index of the call, status, text
ANSWER = const(9)  # turn, how it ended, req whose reply holds the text (0: none), text or nil
SENT = const(10)  # turn: somebody acknowledged its answer
CANCEL = const(11)  # turn: a person ended it
TIMEOUT = const(12)  # turn: its time is over
END = const(13)  # turn, why the device itself ended it
GAP = const(14)  # first and last record that are lost, hash before and after them, why
TRUST = const(15)  # number of a record at which the gateway's replica has the same hash
FACT = const(16)  # key, value (nil: forgotten)
RECOVERED = const(17)  # last to take back, number, kind, offset, length, bytes of its payload
REFUSED = const(0x81)  # how many asks were refused since the last such record

# effect classes of a call
READ = const(0)
IDEMPOTENT = const(1)
ONCE = const(2)

# status of a RESULT
OK = const(0)
ERROR = const(1)
REJECTED = const(2)  # unknown tool or wrong arguments: nothing was started
LATE = const(3)  # the tool's own time-out
UNKNOWN = const(4)  # a ONCE call was under way when the device stopped
STOPPED = const(5)  # the turn was cancelled or ran out of time

# how an ANSWER ended the turn
DONE = const(0)
LIMITED = const(1)
FAILED = const(2)
CANCELLED = const(3)

# why records are missing
DROPPED = const(0)  # before the gateway had them: the ring was full
DAMAGED = const(1)
