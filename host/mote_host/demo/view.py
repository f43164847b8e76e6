"""What `mote demo` shows a person: every step as it happens, then a summary."""

import time

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mote_host.demo.result import Result
from mote_host.turns import Step

_STYLES = {
    "broker": "dim",
    "gateway": "dim",
    "device": "dim",
    "ask": "bold",
    "model": "blue",
    "tool call": "magenta",
    "result": "green",
    "answer": "bold green",
    "limit": "red",
    "cancelled": "red",
}


class View:
    """Prints steps with the seconds since it was made."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def step(self, step: Step) -> None:
        """One line."""
        style = _STYLES.get(step.label, "")
        note = f"  [dim]{escape(step.note)}[/dim]" if step.note else ""
        seconds = time.monotonic() - self._began
        label = f"[{style}]{step.label:<9}[/]" if style else f"{step.label:<9}"
        self._console.print(f"[dim]{seconds:6.2f} s[/dim]  {label}  {escape(step.text)}{note}")

    def summary(self, result: Result) -> None:
        """What it took, and whether the record of it holds."""
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        audit = "[green]verified[/green]" if result.audit_verified else "[bold red]NOT verified[/]"
        rows = [
            ("seconds", f"{result.seconds:.2f}, from the ask to the answer"),
            ("wire", f"{result.up} bytes up, {result.down} bytes down, connecting included"),
            ("log", f"{result.records} records in {result.log_bytes} bytes on the device"),
            ("audit chain", audit),
            ("ran on", f"{result.runtime}, broker {result.broker}, provider {result.provider}"),
        ]
        for name, value in rows:
            table.add_row(f"[dim]{name}[/dim]", value)
        self._console.print()
        self._console.print(table)
