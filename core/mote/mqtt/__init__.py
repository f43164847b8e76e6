"""MQTT 5.0 and 3.1.1 for one client: bytes in, events out, no I/O and no clock."""

# The API. A second list of the names, `__all__`, would cost a device 35 bytes.
from .session import (  # noqa: F401
    CONNECTED,
    DISCONNECTED,
    MESSAGE,
    PUBACK,
    REFUSED,
    SKIPPED,
    SUBACK,
    ProtocolError,
    Session,
)
