"""The host's one exception tree.

MoteError                 anything the person at the terminal should read; exit code 1
 ├─ ConfigError           a file, key or option is wrong; exit code 2
 ├─ BrokerError           the broker can't be reached or refuses
 ├─ DeviceError           a device is unknown, refused, silent or sent something unacceptable
 ├─ StoreError            the gateway's store can't be opened or is damaged
 └─ ProviderError         a model provider failed; says whether trying again can help
"""


class MoteError(Exception):
    """An error whose text is meant for a person: it names the place and what to do."""

    exit_code = 1


class ConfigError(MoteError):
    """A configuration file, key or option is wrong."""

    exit_code = 2


class BrokerError(MoteError):
    """The broker can't be reached, refuses, or went away."""


class DeviceError(MoteError):
    """A device is unknown, refused, silent, or sent something that can't be accepted."""


class StoreError(MoteError):
    """The gateway's store can't be opened or is damaged."""


class ProviderError(MoteError):
    """A model provider failed.

    `retryable` says whether the same request may succeed later; `retry_after_s` is what the
    provider asked for (RFC 9110, 10.2.3), or None.
    """

    def __init__(
        self, message: str, *, retryable: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after_s = retry_after_s
