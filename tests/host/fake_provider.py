"""A model provider on loopback: real HTTP in the documented formats, scripted answer by answer.

    with FakeProvider(openai("hi"), error(429, "slow down", retry_after="1")) as fake:
        provider = OpenAI(fake.openai_url, "m", "key")
        ...
        fake.requests[0].json["messages"]

Answers are used up in order; when none is left, `default` answers, or a 418 that says so. Each
script entry is an `Answer` or a function from the `Received` request to one. The server runs in a
thread, so tests may be async or not, and another process may be the client.
"""

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HOLD_LIMIT_S = 30.0


@dataclass(frozen=True)
class Received:
    """A request as it arrived; header names are lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """A response. `cut_at` sends that many bytes of the body, then drops the connection;
    `announce` False leaves Content-Length out; `hold` answers nothing until the server closes.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    announce: bool = True
    hold: bool = False


Script = Answer | Callable[[Received], Answer]


def ok(value: Any) -> Answer:
    """A 200 with `value` as JSON."""
    return Answer(body=json.dumps(value).encode())


def error(status: int, message: str, **headers: str) -> Answer:
    """An error in the form that both APIs use; header names take `_` for `-`."""
    body = json.dumps({"type": "error", "error": {"type": "x", "message": message}}).encode()
    return Answer(status, body, {name.replace("_", "-"): v for name, v in headers.items()})


def hold() -> Answer:
    """Take the request and never answer."""
    return Answer(hold=True)


def cut(answer: Answer, at: int) -> Answer:
    """`answer`, cut after `at` bytes of its body."""
    return replace(answer, cut_at=at)


def openai(
    text: str | None = None,
    calls: list[tuple[str | None, str, Any]] | None = None,
    *,
    finish: str | None = None,
    usage: tuple[int, int] | None = (11, 7),
) -> Answer:
    """A chat completion; a call is (id, name, arguments): a str goes as it is, else as JSON."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": given if isinstance(given, str) else json.dumps(given),
                },
            }
            | ({} if id_ is None else {"id": id_})
            for id_, name, given in calls
        ]
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": finish or ("tool_calls" if calls else "stop"),
            }
        ],
    }
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return ok(body)


def anthropic(
    text: str | None = None,
    calls: list[tuple[str, str, Any]] | None = None,
    *,
    stop: str | None = None,
    usage: tuple[int, int] = (11, 7),
) -> Answer:
    """A message; a call is (id, name, input)."""
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text is not None else []
    for id_, name, given in calls or ():
        content.append({"type": "tool_use", "id": id_, "name": name, "input": given})
    return ok(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": stop or ("tool_use" if calls else "end_turn"),
            "usage": {"input_tokens": usage[0], "output_tokens": usage[1]},
        }
    )


class FakeProvider:
    """The server; a context manager. `requests` records what arrived, in order."""

    def __init__(self, *script: Script, default: Script | None = None) -> None:
        self.requests: list[Received] = []
        self._script: deque[Script] = deque(script)
        self._default = default
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """The root; Anthropic's base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai_url(self) -> str:
        """The base URL of the Chat Completions API."""
        return self.url + "/v1"

    def script(self, *answers: Script) -> None:
        """Append answers."""
        with self._lock:
            self._script.extend(answers)

    def close(self) -> None:
        """Let go of held requests and stop."""
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer_to(self, received: Received) -> Answer:
        """Record a request and take its answer."""
        with self._lock:
            self.requests.append(received)
            entry = self._script.popleft() if self._script else self._default
        if entry is None:
            return error(418, "the fake provider has no answer left")
        answer = entry if isinstance(entry, Answer) else entry(received)
        if answer.hold:
            self._closing.wait(_HOLD_LIMIT_S)
        return answer

    def __enter__(self) -> "FakeProvider":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are part of the tests."""


def _handler(fake: FakeProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = fake.answer_to(Received(self.path, headers, self.rfile.read(length)))
            if answer.hold:
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("content-type", "application/json")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.announce:
                self.send_header("content-length", str(len(answer.body)))
            self.close_connection = answer.cut_at is not None or not answer.announce
            if self.close_connection:
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut_at])

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    return Handler
