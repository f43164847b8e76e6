"""The other engine: atheris, whose libFuzzer is guided by the branches that an input takes.

It is no dependency: `pip install atheris` into .venv first.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import engine, mutate, target
from tests.fuzz.target import Target

_PRODUCT = ["mote", "mote_ports", "mote_device", "mote_host"]


def is_there() -> bool:
    """True if atheris can be imported."""
    return find_spec("atheris") is not None


def run(name: str, inputs: int, seed: int, folder: Path) -> None:
    """Check that many inputs; never returns. The corpus is kept in `folder`/corpus.

    At a finding libFuzzer writes the input to `folder`, and the process ends with an error.
    """
    import atheris

    with atheris.instrument_imports(include=_PRODUCT):
        hunted = target.load(name)
    corpus = folder / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    sow(hunted, corpus, seed)

    def check(data: bytes) -> None:
        try:
            hunted.check(data)
        except Exception as exc:
            print(f"{name}: {engine.place(exc)}\n  {data!r}", file=sys.stderr)
            raise

    options = [f"-runs={inputs}", f"-seed={seed}", f"-max_len={mutate.MAX_BYTES}"]
    options += [f"-artifact_prefix={folder}/{name}-", f"-timeout={engine.HANG_S:.0f}"]
    mutator = _mutator(hunted, atheris)
    atheris.Setup([sys.argv[0], *options, str(corpus)], check, custom_mutator=mutator)
    atheris.Fuzz()


def sow(hunted: Target, corpus: Path, seed: int) -> None:
    """Put what is kept, and some inputs of the grammar, into an empty corpus."""
    if any(corpus.iterdir()):
        return
    random = Random(seed)
    seeds = [data for _, data in target.kept(hunted.name)]
    seeds += [hunted.make(random) for _ in range(200)]
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)


def _mutator(hunted: Target, atheris: Any) -> Any:
    """Half of the mutations know the grammar, the other half are libFuzzer's own."""

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if seed % 2:
            return hunted.mutate(data, random, hunted.make(random))[:most]
        own: bytes = atheris.Mutate(data, most)
        return own

    return mutated
