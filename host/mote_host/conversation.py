"""The conversation that a model request continues, built from the replica and nothing else.

The request's own turn goes in whole; before it go as many earlier turns of its session as the
window holds, whole too, newest first. The same replica always gives the same conversation. Where
records are missing in it, a turn whose ask is gone is left out, and a call whose result is gone
may have run: it is never shown as one that did not.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mote import records as r
from mote.msgpack import FormatError

from mote_host.bodies import decode_reply, encode_reply
from mote_host.declarations import read_declaration
from mote_host.frames import ENDINGS, STATUS, Gap, Record
from mote_host.providers.base import Call, Message, Request
from mote_host.store import Store

__all__ = ["build", "encode_reply"]

MAX_EARLIER_TURNS = 64
MIN_TOKENS = 64
BYTES_PER_TOKEN = 3  # fewer than there are in English: a reply that is cut costs more than room

_NOT_RUN = "not run: the turn ended before"
_UNKNOWN = "outcome unknown: the record of it is lost"


def build(
    store: Store,
    device: str,
    request: Record,
    declarations: list[bytes],
    *,
    system: str,
    window_bytes: int,
    max_tokens: int,
) -> Request:
    """The provider's request for the REQ record `request`. Raises FormatError.

    `max_tokens` is the configured cap; the reply limit of the device lowers it.
    """
    ask = request.fields["turn"]
    gaps = store.gaps(device)
    messages = turn_messages(store.records(device, ask, request.seq, turn=ask), gaps)
    if not messages:
        raise FormatError("the records that it needs are lost")
    left = window_bytes - _size(messages)
    for turn in store.turns_before(device, request.session or "", ask, MAX_EARLIER_TURNS):
        earlier = turn_messages([record for record in turn if record.seq < request.seq], gaps)
        left -= _size(earlier)
        if left < 0:
            break
        if any(record.kind == r.ANSWER for record in turn):
            messages = earlier + messages
    return Request(
        system=system,
        messages=tuple(messages),
        tools=tuple(read_declaration(data) for data in declarations),
        max_tokens=min(max_tokens, max(MIN_TOKENS, request.fields["limit"] // BYTES_PER_TOKEN)),
    )


def turn_messages(records: list[Record], gaps: Sequence[Gap] = ()) -> list[Message]:
    """One turn's records as messages; none if it does not begin with its ASK.

    `gaps` are those of the replica.
    """
    if not records or records[0].kind != r.ASK:
        return []
    first, last = records[0].seq, records[-1].seq
    teller = _Turn(records[0], any(first < gap.first < last for gap in gaps))
    for record in records[1:]:
        teller.take(record)
    return teller.finish()


class _Turn:
    """Folds a turn's records into messages, in the order in which they happened."""

    def __init__(self, ask: Record, lossy: bool) -> None:
        self._messages = [Message("user", ask.fields["text"])]
        self._parts: dict[int, list[bytes]] = {}
        self._calls: list[Call] = []  # of the newest reply, whose results are still due
        self._note = ""
        self._not_run = _UNKNOWN if lossy else _NOT_RUN

    def take(self, record: Record) -> None:
        fields = record.fields
        if record.kind == r.BOOT:
            self._note += _restart(fields["outputs"])
        elif record.kind == r.PART:
            self._parts.setdefault(fields["req"], []).append(fields["data"])
        elif record.kind == r.REPLY_END:
            self._reply(fields["req"], fields["length"], fields["calls"])
        elif record.kind == r.RESULT:
            self._result(fields)
        elif record.kind == r.ANSWER:
            self._answer(fields)

    def finish(self) -> list[Message]:
        self._close_calls()
        if self._note:  # nothing came after the restart: the last message takes the note
            self._messages[-1] = replace(
                self._messages[-1], text=self._messages[-1].text + self._take_note()
            )
        return self._messages

    def _reply(self, req: int, length: int, ncalls: int) -> None:
        self._close_calls()
        body = b"".join(self._parts.pop(req, []))
        try:
            if len(body) != length:
                raise FormatError("parts of it are lost")
            calls, text = decode_reply(body, ncalls)
        except FormatError:  # one bad reply must not silence its session for ever
            calls, text = [], "(this reply can't be read)"
        self._calls = [
            Call(_call_id(req, index), name, arguments)
            for index, (name, arguments) in enumerate(calls)
        ]
        if not text and not calls:
            text = "(no text)"
        self._messages.append(Message("assistant", text, tuple(self._calls)))

    def _result(self, fields: dict[str, Any]) -> None:
        text: str = fields["text"]
        if fields["status"] != r.OK:
            text = f"{STATUS.get(fields['status'], 'error')}: {text}"
        self._settle(_call_id(fields["req"], fields["index"]), text)

    def _settle(self, call_id: str, text: str) -> None:
        """Answer one of the calls that are due; a result of any other call can't be shown."""
        due = [call for call in self._calls if call.id != call_id]
        if len(due) < len(self._calls):
            text += self._take_note()
            self._messages.append(Message("tool", text, call_id=call_id))
            self._calls = due

    def _close_calls(self) -> None:
        """Every call must have its result: what the turn's end left out gets one here."""
        for call in self._calls:
            self._messages.append(Message("tool", self._not_run, call_id=call.id))
        self._calls = []

    def _answer(self, fields: dict[str, Any]) -> None:
        self._close_calls()
        if fields["text"] is not None:
            how = ENDINGS.get(fields["how"], "ended")
            text = f"(this turn ended without an answer; {how}: {fields['text']})"
            self._messages.append(Message("assistant", text))

    def _take_note(self) -> str:
        note, self._note = self._note, ""
        return note


def _restart(outputs: list[Any]) -> str:
    reset = f"; these outputs were reset: {', '.join(map(str, outputs))}" if outputs else ""
    return f"\n(the device restarted{reset})"


def _call_id(req: int, index: int) -> str:
    return f"call_{req}_{index}"


def _size(messages: list[Message]) -> int:
    """Bytes of text and arguments; a provider's own framing is not counted."""
    return sum(
        len(message.text.encode())
        + sum(len(call.name) + len(repr(call.arguments)) for call in message.calls)
        for message in messages
    )
