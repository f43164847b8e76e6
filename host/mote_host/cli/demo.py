"""`mote demo`."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from mote_host.asking import DONE
from mote_host.cli.ask import NOT_DONE
from mote_host.cli.common import emit, json_option, run, settings_of
from mote_host.cli.gateway import provider_of
from mote_host.demo.run import run_demo
from mote_host.demo.runtimes import choose
from mote_host.demo.view import View
from mote_host.turns import Step

ASK = "Read the soil moisture, then run the pump for 3 seconds."


@click.command()
@click.option("--ask", "text", default=ASK, show_default=True, help="What to ask the device.")
@click.option(
    "--broker",
    default="auto",
    show_default=True,
    metavar="auto|mosquitto|amqtt|HOST:PORT",
    help="auto: mosquitto if it is installed, else amqtt in this process.",
)
@click.option(
    "--runtime",
    help="micropython (the default), cpython, or an emulated board: rv32 or cortex-m3.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(1, 3600),
    default=120,
    show_default=True,
    help="Seconds to wait for the answer.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Leave the device's and the gateway's folders here, to look at afterwards.",
)
@json_option
@click.pass_context
def demo(
    ctx: click.Context,
    text: str,
    broker: str,
    runtime: str | None,
    timeout_s: float,
    keep: Path | None,
    as_json: bool,
) -> int:
    """Run the main job on this machine: a broker, a gateway, a simulated greenhouse, one ask.

    Needs no key and no network: unless the configuration names a provider, a deterministic
    planner stands in for the model and says so. Exit code 0: the answer came and the audit chain
    verified, on the device and at the gateway.
    """
    settings = settings_of(ctx)
    chosen, remark = choose(runtime)
    view = View(Console(stderr=as_json, highlight=False))
    logging.getLogger("mote").addHandler(logging.NullHandler())
    if remark:
        view.step(Step("device", remark))
    with _folder(keep) as folder:
        result = run(
            run_demo(
                *(folder, chosen, provider_of(settings), text),
                provider_settings=settings.provider,
                broker=broker,
                timeout_s=timeout_s,
                show=view.step,
            )
        )
    if as_json:
        emit(result.as_json())
    else:
        view.summary(result)
    if not result.audit_verified:
        return 1
    return 0 if result.status == DONE else NOT_DONE


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where the demo's files go: a folder to keep, which must be empty, or one for now."""
    if keep and keep.exists() and any(keep.iterdir()):
        raise click.UsageError(f"--keep {keep}: the folder is not empty")
    with tempfile.TemporaryDirectory(prefix="mote-demo-") as scratch:
        yield keep or Path(scratch)
