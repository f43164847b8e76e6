"""Whole installations for end-to-end tests: real broker, gateway and device processes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mote_host.demo.brokers import find_mosquitto
from mote_host.demo.runtimes import Runtime, runtimes
from mote_host.demo.stage import Stage, staged


@pytest.fixture(params=["cpython", "micropython"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    found = runtimes()[request.param]
    missing = found.missing()
    assert missing is None, missing
    return found


@pytest.fixture
def mosquitto() -> str:
    path = find_mosquitto()
    assert path, "mosquitto is needed: apt-get install mosquitto"
    return path


@pytest.fixture
def stage_of(tmp_path: Path, mosquitto: str) -> Callable[..., Any]:
    """`async with stage_of(runtime, provider, ...) as stage`, over mosquitto."""

    @asynccontextmanager
    async def make(runtime: Runtime, provider: Any, **options: Any) -> AsyncIterator[Stage]:
        options.setdefault("broker", "mosquitto")
        async with staged(tmp_path, runtime, provider, **options) as stage:
            try:
                yield stage
            finally:
                print(stage.device.said())  # pytest shows it if the test failed

    return make
