"""What must hold after a storm: each check gives lines that say what is broken, or none."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from mote_host.audit import verify_log
from mote_host.store import Store

from tests.e2e.storm_asker import Asker
from tests.e2e.storm_model import Asked, Model
from tests.e2e.storm_site import StormDevice, mote

_SETTLE_S = 60.0
_TROUBLE = ("Traceback", "trying again every", "MemoryError", "nothing goes there any more")


def answers(asker: Asker, asks: Iterable[tuple[str, Asked]]) -> list[str]:
    """Each ask has one answer: duplicates have the same bytes, and it is what the model said."""
    broken = []
    for ask_id, asked in asks:
        found = asker.answers.get(ask_id)
        if not found:
            broken.append(f"{ask_id}: no answer")
            continue
        if len(found) > 1:
            broken.append(f"{ask_id}: {len(found)} distinct answers: {sorted(found)}")
        answer = json.loads(next(iter(found)))
        if answer["status"] == "done" and answer["text"] != asked.answer:
            broken.append(f"{ask_id}: the answer is not the model's: {answer['text'][:100]!r}")
    return broken


def once(devices: Iterable[StormDevice]) -> list[str]:
    """No ONCE call was started twice."""
    return [
        f"{device.name}: {token} was started {n} times"
        for device in devices
        for token, n in device.tokens().items()
        if n > 1
    ]


def provider(model: Model, crashes: list[float], restores: Mapping[str, list[float]]) -> list[str]:
    """One provider call completed for each model request.

    One more for each crash of the gateway in between, with or without its store, and for each
    time that the device's log was restored: the turn asks anew then.
    """
    broken = []
    for key, n in model.completed.items():
        began, ended = min(model.begun[key]), max(model.moments[key])
        again = sum(began <= at <= ended for at in [*crashes, *restores.get(key[0], [])])
        if n > 1 + again:
            broken.append(f"request {key}: {n} provider calls, {again} crashes and restores")
    return broken


def logs(folder: Path, devices: Iterable[StormDevice]) -> list[str]:
    """No process said that something went wrong."""
    return [
        f"{path.name}: {line[:300]}"
        for path in [folder / "gateway.log", *(d.folder / "moted.log" for d in devices)]
        for line in path.read_text(errors="replace").splitlines()
        if any(word in line for word in _TROUBLE)
    ]


async def settled(folder: Path, devices: list[StormDevice]) -> list[str]:
    """The replicas come to hold the whole logs."""
    waiting = {device.name: device for device in devices}
    behind: dict[str, str] = {}
    with closing(Store(folder / "gateway" / "gateway.db")) as store:
        loop = asyncio.get_running_loop()
        until = loop.time() + _SETTLE_S
        while waiting and loop.time() < until:
            for name, device in list(waiting.items()):
                own, known = verify_log(device.log_folder, name, None), store.device(name)
                tip = known.tip if known else None
                behind[name] = f"{name}: replica at {tip}, log at {own.last} ({own.why})"
                if own.verified and tip == own.last:
                    del waiting[name]
            await asyncio.sleep(0.2)
    return [behind[name] for name in waiting]


async def audits(
    folder: Path, devices: Iterable[StormDevice], restored: Iterable[str], gaps: bool
) -> list[str]:
    """`mote audit verify` verifies replica and log; no device has forked or another alarm.

    `restored` are those whose alarm must tell of it; `gaps` says whether replicas may have some:
    what a log has dropped is gone when the store is lost.
    """
    broken = []
    for device in devices:
        key = str(device.folder / "device.key")
        own = f"{device.folder}/state/log"
        targets = [device.name], [own, "--device", device.name, "--key", key]
        verdicts = await asyncio.gather(
            *(_json(folder, "audit", "verify", *target) for target in targets)
        )
        broken += [
            f"{device.name}: audit verify {target[0]}: {found}"
            for target, found in zip(targets, verdicts, strict=True)
            if not found.get("verified") or (found.get("gaps") and not gaps)
        ]
    listed = await _json(folder, "devices")
    for row in listed["devices"]:
        alarm = row["alarm"] or ""
        if alarm and ("restored" not in alarm or row["device"] not in restored):
            broken.append(f"{row['device']}: alarm: {alarm}")
    if forks := await _json(folder, "forks"):
        broken.append(f"forks: {forks}")
    return broken


async def _json(folder: Path, *arguments: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        *mote(folder, *arguments, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await process.communicate()
    try:
        return json.loads(out)
    except ValueError:
        return {"failed": said.decode()[-500:]}
