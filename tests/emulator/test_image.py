"""Images of the flash, written and read on both sides."""

import pytest
from mote_emulator.console import BoardError
from mote_emulator.image import FILES_BYTES, FLASH_BYTES, LOG_AT, FlashImage

FILES = {"/main.py": b"print('hi')\n", "/lib/a/b.py": b"x = 5\n" * 1000, "/empty": b""}


def test_a_flash_from_the_factory_is_erased(tmp_path):
    image = FlashImage.create(tmp_path / "flash.img")
    assert image.path.stat().st_size == FLASH_BYTES
    assert image.read(0, FLASH_BYTES).count(0xFF) == FLASH_BYTES
    with pytest.raises(BoardError, match="file system"):
        image.list_files()


def test_files_that_were_written_are_there(flash):
    flash.write_files(FILES)
    assert flash.list_files() == {path: len(data) for path, data in FILES.items()}
    assert {path: flash.read_file(path) for path in FILES} == FILES
    flash.write_files({"/main.py": b"other"})
    flash.remove_file("/empty")
    assert flash.read_file("/main.py") == b"other"
    assert sorted(flash.list_files()) == ["/lib/a/b.py", "/main.py"]
    flash.format()
    assert flash.list_files() == {}


def test_files_stay_out_of_the_log(flash):
    flash.overwrite(LOG_AT, b"a log")
    flash.write_files(FILES)
    flash.format()
    assert flash.read_log(6) == b"a log\xff"
    assert len(flash.read_log()) == FLASH_BYTES - FILES_BYTES


def test_what_does_not_fit_changes_nothing(flash):
    flash.write_files(FILES)
    with pytest.raises(BoardError, match=r"flash\.img"):
        flash.write_files({"/big": bytes(FILES_BYTES)})
    with pytest.raises(BoardError, match=r"flash\.img"):
        flash.read_file("/none")
    assert flash.list_files() == {path: len(data) for path, data in FILES.items()}


def test_rot_flips_as_many_bits_as_it_says(flash):
    before = flash.read_log(1000)
    flash.rot(LOG_AT + 100, 50, bits=7, seed=3)
    after = flash.read_log(1000)
    flipped = [
        (n, (a ^ b).bit_count()) for n, (a, b) in enumerate(zip(before, after, strict=True))
    ]
    assert sum(bits for _, bits in flipped) == 7
    assert all(100 <= n < 150 for n, bits in flipped if bits)
    flash.rot(LOG_AT + 100, 50, bits=7, seed=3)
    assert flash.read_log(1000) == before


def test_nothing_is_beyond_the_end(flash):
    for offset, size in ((FLASH_BYTES, 1), (-1, 1), (FLASH_BYTES - 1, 2)):
        with pytest.raises(ValueError, match="33554432 bytes"):
            flash.read(offset, size)
    with pytest.raises(ValueError, match="33554432 bytes"):
        flash.overwrite(FLASH_BYTES - 1, b"ab")
    assert flash.path.stat().st_size == FLASH_BYTES


async def test_a_board_runs_the_files_of_its_image(board, flash):
    flash.write_files(
        {"/main.py": b"import a.b\nprint('main', a.b.x)\n", "/lib/a/b.py": FILES["/lib/a/b.py"]}
    )
    machine = await board(until="main 5\r\n")
    said = await machine.execute("import os; print(sorted(os.listdir('/')), os.statvfs('/')[:3])")
    assert said == "['lib', 'main.py'] (4096, 4096, 256)\n"


async def test_a_board_writes_files_into_its_image(board, flash, power_cut):
    machine = await board()
    await machine.execute("import os\nos.mkdir('/d')\nwith open('/d/f', 'wb') as f: f.write(b'z')")
    await power_cut()
    assert await machine.execute("print(open('/d/f').read())") == "z\n"
    await machine.kill()
    assert flash.read_file("/d/f") == b"z"


async def test_a_board_keeps_its_log_beside_the_files(board, flash, power_cut):
    flash.overwrite(LOG_AT + 4096, b"from the host")
    machine = await board()
    await machine.execute(
        "from mote_board import Flash\n"
        f"log = Flash({LOG_AT}, 65536)\n"
        "b = bytearray(13)\nprint(log.readblocks(1, b, 0), b)\n"
        "print(log.writeblocks(2, b'from the board!!', 32))"
    )
    assert "0 bytearray(b'from the host')\n0\n" in machine.console.transcript
    await machine.kill()
    assert flash.read_log(3 * 4096)[2 * 4096 + 32 :][:16] == b"from the board!!"
    assert flash.list_files() == {}


async def test_a_board_from_the_factory_formats_nothing(board, tmp_path):
    image = FlashImage.create(tmp_path / "blank.img")
    machine = await board(flash=image, until="no file system on the flash")
    await machine.wait_for(">>> ")
    await machine.kill()
    assert image.read(0, FLASH_BYTES).count(0xFF) == FLASH_BYTES
    image.path.unlink()
