"""`mote gateway`."""

import logging

import click
from rich.console import Console
from rich.logging import RichHandler

from mote_host.cli.common import open_registry, open_store, run, serve, settings_of
from mote_host.config import Settings, provider_key
from mote_host.gateway import Gateway
from mote_host.providers import Provider, make_provider


def provider_of(settings: Settings) -> Provider:
    """The model provider that the configuration names, with the key from the environment."""
    given = settings.provider
    return make_provider(
        given.kind,
        base_url=given.base_url or None,
        model=given.model or None,
        api_key=provider_key(given.kind),
        timeout_s=given.timeout_s,
    )


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="Tell of every message that is dropped.")
@click.pass_context
def gateway(ctx: click.Context, verbose: bool) -> None:
    """Run the gateway until a signal: keeps replicas of the devices' logs, calls the model.

    Several gateways may run on one state folder. Provider keys come from the environment
    (MOTE_PROVIDER_KEY, OPENAI_API_KEY, ANTHROPIC_API_KEY, ...) or the systemd credential
    provider-key.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(message)s",
        datefmt="%H:%M:%S",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False)],
    )
    for name in ("httpx", "httpcore", "mqtt"):
        logging.getLogger(name).setLevel(logging.WARNING)
    run(_serve(settings_of(ctx)))


async def _serve(settings: Settings) -> None:
    provider = provider_of(settings)
    log = logging.getLogger("mote.gateway")
    log.info("provider %s, state in %s", provider.name, settings.gateway.state_dir)
    with open_store(settings) as store:
        service = Gateway(settings, open_registry(settings), store, provider)
        try:
            await serve(service.run())
            log.info("stopped")
        finally:
            await provider.aclose()
