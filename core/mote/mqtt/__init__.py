"""MQTT 5.0 and 3.1.1 for one client: bytes in, events out, no I/O and no clock."""

# Naming what is public here (Session, ProtocolError, the events) costs 120 bytes of flash.
from .session import *  # noqa: F403
