"""What the README promises: its example tool as written, and the bare installation."""

import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mote_host.asking import ask
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import DEVICE
from mote_host.providers import Offline

ROOT = Path(__file__).resolve().parents[2]


def _block(language: str) -> str:
    """The README's only fenced block in that language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert isinstance(found, str)
    return found


async def test_the_tool_in_ten_lines_runs_as_written(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    source = _block("python")
    assert len([line for line in source.splitlines() if line.strip()]) <= 10
    async with stage_of(runtime, Offline(), device_config="\n" + _block("toml")) as stage:
        (stage.device.folder / "tools").mkdir()
        (stage.device.folder / "tools" / "dice.py").write_text(source)
        await stage.device.start()
        await stage.online()
        answer = await ask(stage.client, DEVICE, "roll a dice with 6 sides")
        assert re.search(r"rolled [1-6] of 6", answer.text), answer
        answer = await ask(stage.client, DEVICE, "roll a dice with 600 sides")
        assert "2..100" in answer.text


@pytest.mark.slow
def test_installed_bare_it_has_the_daemon_and_says_what_the_rest_needs(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", str(ROOT)], check=True, cwd=tmp_path)
    listed = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    assert [line.split(" @ ")[0] for line in listed.split("\n") if line] == ["mote-agent"]
    moted = subprocess.run(
        [python.with_name("moted"), "--version"], check=True, capture_output=True, text=True
    )
    assert moted.stdout.startswith("moted ")
    mote = subprocess.run(
        [python.with_name("mote"), "demo"], check=False, capture_output=True, text=True
    )
    assert mote.returncode == 2
    assert "pip install 'mote-agent[gateway]'" in mote.stderr


@pytest.mark.slow
def test_every_command_of_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text()
    mote = Path(sys.executable).with_name("mote")
    names = set(re.findall(r"^ {4}mote (\w+)", text, re.MULTILINE))
    assert len(names) > 6
    for name in names:
        subprocess.run([mote, name, "--help"], check=True, capture_output=True)
