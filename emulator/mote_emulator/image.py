"""Images of a board's flash: files for its file system, the log's region, and damage on purpose.

An image is what both boards' flash is: 32 MiB, of which littlefs has the first (blocks of 4 KiB),
and the rest is the raw region of the log. Erased flash is all ones. littlefs-python is needed for
files only.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mote_emulator.console import BoardError

if TYPE_CHECKING:
    from littlefs import LittleFS

FLASH_BYTES = 32 * 1024 * 1024
FILES_BYTES = 1024 * 1024
LOG_AT = FILES_BYTES
BLOCK_BYTES = 4096
_CHUNK = 1024 * 1024
_CACHE_BYTES = 32  # littlefs' read and program size; MicroPython's default


class FlashImage:
    """The flash of one board, in the file `path`. Change it only while the board is off."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> "FlashImage":
        """A flash from the factory: all erased. An image that is there is replaced."""
        erased = b"\xff" * _CHUNK
        with path.open("wb") as file:
            for _ in range(FLASH_BYTES // _CHUNK):
                file.write(erased)
        return cls(path)

    def format(self) -> None:
        """Put an empty file system on it. The log's region stays as it is."""
        with self._files(anew=True):
            pass

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write files by their absolute paths; folders are made, files are replaced.

        Raises BoardError if there is no file system, or no room.
        """
        with self._files() as filesystem:
            for path, data in files.items():
                folder = path.rpartition("/")[0]
                if folder:
                    filesystem.makedirs(folder, exist_ok=True)
                with filesystem.open(path, "wb") as file:
                    file.write(data)

    def read_file(self, path: str) -> bytes:
        """The content of a file. Raises BoardError if it is not there."""
        with self._files() as filesystem, filesystem.open(path, "rb") as file:
            data: bytes = file.read()
            return data

    def list_files(self) -> dict[str, int]:
        """The sizes of all files, by their absolute paths."""
        found: dict[str, int] = {}
        with self._files() as filesystem:
            for folder, _, names in filesystem.walk("/"):
                for name in names:
                    path = f"{folder.rstrip('/')}/{name}"
                    found[path] = filesystem.stat(path).size
        return found

    def remove_file(self, path: str) -> None:
        """Remove a file. Raises BoardError if it is not there."""
        with self._files() as filesystem:
            filesystem.remove(path)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the flash."""
        with self.path.open("rb") as file:
            file.seek(_checked(offset, size))
            return file.read(size)

    def overwrite(self, offset: int, data: bytes) -> None:
        """Replace bytes of the flash, whatever a chip could do."""
        with self.path.open("r+b") as file:
            file.seek(_checked(offset, len(data)))
            file.write(data)

    def read_log(self, size: int = FLASH_BYTES - LOG_AT) -> bytes:
        """The first `size` bytes of the log's region."""
        return self.read(LOG_AT, size)

    def rot(self, offset: int, size: int, bits: int, seed: int) -> None:
        """Flip `bits` different bits between `offset` and `offset + size`, the same for a seed."""
        data = bytearray(self.read(offset, size))
        for bit in random.Random(seed).sample(range(8 * size), bits):  # noqa: S311 (repeatable)
            data[bit // 8] ^= 1 << bit % 8
        self.overwrite(offset, bytes(data))

    @contextmanager
    def _files(self, anew: bool = False) -> Iterator["LittleFS"]:
        """The file system; what changed in it goes to the image if the context ends well."""
        from littlefs import LittleFS, LittleFSError, UserContext  # noqa: PLC0415 (an extra's)

        before = self.read(0, FILES_BYTES)
        context = UserContext(buffer=bytearray(before))
        filesystem = LittleFS(
            context,
            mount=False,
            block_size=BLOCK_BYTES,
            block_count=FILES_BYTES // BLOCK_BYTES,
            read_size=_CACHE_BYTES,
            prog_size=_CACHE_BYTES,
        )
        try:
            if anew:
                filesystem.format()
            filesystem.mount()
            yield filesystem
            filesystem.unmount()
        except (LittleFSError, OSError) as exc:
            raise BoardError(f"the file system of {self.path}: {exc}") from exc
        if context.buffer != before:
            self.overwrite(0, bytes(context.buffer))


def _checked(offset: int, size: int) -> int:
    if offset < 0 or size < 0 or offset + size > FLASH_BYTES:
        raise ValueError(f"the flash has {FLASH_BYTES} bytes")
    return offset
