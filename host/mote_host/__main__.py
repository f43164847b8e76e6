"""The command `mote`. It needs the `gateway` extra; without it, this says so."""

import sys

_EXTRA = ("aiomqtt", "click", "httpx", "paho", "platformdirs", "pydantic", "rich", "tenacity")


def main() -> None:
    """Run `mote` with the arguments of this process."""
    try:
        from mote_host.cli import run  # noqa: PLC0415 (a bare install has no click)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in _EXTRA:
            raise
        text = f"mote needs {exc.name}, which is not installed: pip install 'mote-agent[gateway]'"
        print(text, file=sys.stderr)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
