"""The way to the broker that is configured: TCP, TLS or a serial line."""

from .config import ConfigError, check_private


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

    known = speeds()
    if known and broker.baud not in known:
        shown = ", ".join([str(speed) for speed in known if speed >= 9600])
        text = "%s: [broker] baud: %d can't be set here; known: %s"
        raise ConfigError(text % (config.path, broker.baud, shown))
    return SerialPort(broker.serial, broker.baud)


def tls_files(config):
    """(ca_file, client_cert, client_key), or None without TLS. Raises ConfigError.

    They are tried, so that what is wrong is found at the start; each connection reads them again.
    """
    broker = config.broker
    if not broker.tls:
        return None
    from mote_ports.system import tls_context

    if broker.client_key:
        check_private(broker.client_key)
    files = (broker.ca_file, broker.client_cert, broker.client_key)
    try:
        tls_context(*files)
    except ValueError as e:
        raise ConfigError("%s: [broker] %s" % (config.path, e)) from None
    return files
