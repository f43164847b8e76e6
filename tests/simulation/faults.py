"""What goes wrong, how often: the mixes, each drawn anew in its parts for each seed."""

from dataclasses import dataclass, fields, replace
from random import Random


@dataclass(frozen=True)
class Mix:
    """Rates of accidents: by message (0..1), or by simulated hour, of each device or of all."""

    # the network; of each message with QoS 0, but the cuts
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    hang_ups: float = 0.0  # an hour and device
    broker_restarts: float = 0.0  # an hour
    forgetful: float = 0.0  # of the restarts, those that lose the sessions
    expiry: float = 0.0  # of the asks, those that expire in the broker
    # devices; an hour and device
    power: float = 0.0  # cuts, some of them inside an operation of the flash
    stalls: float = 0.0
    flash: float = 0.0  # operations that fail
    rot: float = 0.0  # bits that flip
    restores: float = 0.0  # of the log, from an older copy
    resets: float = 0.0  # of the tools, those that take the device down
    drop: float = 0.0  # of the devices, those that drop what nobody took
    drivers: float = 0.0  # of the devices, those with the whole driver
    # gateways; an hour
    crashes: float = 0.0
    stops: float = 0.0
    jumps: float = 0.0  # of a gateway's wall clock
    store_losses: float = 0.0
    store_restores: float = 0.0
    slow_store: float = 0.0  # of the store's operations, those that take a while
    gateways: int = 1
    # the provider; of each request
    failing: float = 0.0
    slow: float = 0.0
    odd: float = 0.0  # calls and lengths that are not as they should be
    # people; of each ask
    nameless: float = 0.2
    cancels: float = 0.05
    impatient: float = 0.1


_NETWORK = Mix(
    loss=0.05, duplicate=0.05, reorder=0.1, hang_ups=20, broker_restarts=6, forgetful=0.3
)
_NETWORK = replace(_NETWORK, expiry=0.1, impatient=0.4)
_POWER = Mix(power=60, resets=0.02, stalls=6)
_GATEWAY = Mix(crashes=15, stops=5, slow_store=0.1, gateways=2)
_PROVIDER = Mix(failing=0.15, slow=0.2, odd=0.3, cancels=0.2)


def _join(*mixes: Mix) -> Mix:
    """The highest of each rate."""
    found = {}
    for field in fields(Mix):
        found[field.name] = max(getattr(mix, field.name) for mix in mixes)
    return Mix(**found)


MIXES = {
    "calm": Mix(),
    "network": _NETWORK,
    "power": _POWER,
    "flash": _join(_POWER, Mix(flash=60, drop=0.3)),
    "gateway": _GATEWAY,
    "clocks": _join(_GATEWAY, Mix(jumps=10)),
    "provider": _PROVIDER,
    "driver": _join(_NETWORK, _POWER, _PROVIDER, Mix(drivers=1.0)),
    "storm": _join(_NETWORK, _POWER, _GATEWAY, _PROVIDER, Mix(flash=10, drop=0.2, drivers=0.2)),
    "rot": _join(_POWER, Mix(rot=20, drop=0.3)),
    "store": _join(_GATEWAY, Mix(store_losses=2, store_restores=4, power=6)),
    "restore": _join(Mix(restores=6, power=10, loss=0.02)),
}
ANY = "any"
_PARTS = ("calm", "gateways", "drivers", "nameless")


def chosen(name: str, random: Random) -> tuple[str, Mix]:
    """(name, mix): some kinds of accidents of it are left out, others are rarer."""
    if name == ANY:
        name = random.choice(sorted(set(MIXES) - {"calm"}))
    mix = MIXES[name]
    changes = {}
    for field in fields(Mix):
        rate = getattr(mix, field.name)
        if field.name == "gateways":
            changes[field.name] = random.randint(1, rate)
        elif rate and field.name not in _PARTS:
            changes[field.name] = rate * random.choice((0, 0.3, 1, 1))
    return name, replace(mix, **changes)


def told(mix: Mix) -> str:
    """The rates of a mix in words."""
    rates = {field.name: getattr(mix, field.name) for field in fields(Mix)}
    return ", ".join(f"{name.replace('_', ' ')} {rate:g}" for name, rate in rates.items() if rate)
