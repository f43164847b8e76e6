"""The way to the broker that is configured: TCP, TLS or a serial line."""

from . import ConfigError
from .config import check_private


def where(broker):
    """Where the broker is, for people; `broker` is that section of the configuration."""
    if broker.serial:
        return "at %s, %d baud" % (broker.serial, broker.baud)
    return "%s:%d%s" % (broker.host, broker.port, " over TLS" if broker.tls else "")


def serial_port(config):
    """The SerialPort, or None. Raises ConfigError."""
    broker = config.broker
    if not broker.serial:
        return None
    from mote_ports.serial import SerialPort, speeds
    from mote_ports.system import now_ms

    known = speeds()
    if known and broker.baud not in known:
        shown = ", ".join([str(speed) for speed in known if speed >= 9600])
        text = "%s: [broker] baud: %d can't be set here; known: %s"
        raise ConfigError(text % (config.path, broker.baud, shown))
    return SerialPort(broker.serial, broker.baud, now_ms)


def tls_of(config):
    """What `mote_ports.streams.connect` takes for `tls`. Raises ConfigError.

    The files are tried, so that what is wrong is found at the start; each connection reads them
    again.
    """
    broker = config.broker
    if not broker.tls:
        return None
    from mote_ports.system import tls_context

    def make():
        return tls_context(broker.ca_file, broker.client_cert, broker.client_key)

    if broker.client_key:
        check_private(broker.client_key)
    try:
        make()
    except ValueError as e:
        raise ConfigError("%s: [broker] %s" % (config.path, e)) from None
    return broker.ca_file or "this system", make
