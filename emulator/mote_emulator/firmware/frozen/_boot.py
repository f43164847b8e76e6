"""What a board does first: mount its file system, then run what is there.

`/main.py`, if there is one; else the agent, if there is `/mote.cfg`; else the console's REPL.
`/lib/sums` has the CRC-32 of files as hex digits, a space and the path, one on a line: if one is
not as it was written nothing is run. The interpreter takes the code in a .mpy file as it is; with
one bit flipped it may do anything.
"""

import os
import sys

FILES_BYTES = 0x100000  # of the flash, from its beginning; the log's region is behind it
_AGAIN = "write a new image to the flash"


def _mount():
    import vfs
    from mote_board import Flash

    try:
        vfs.mount(vfs.VfsLfs2(Flash(0, FILES_BYTES)), "/")
    except OSError as e:
        print("boot: no file system on the flash (%s): %s" % (e, _AGAIN))
        return False
    sys.path.append("/lib")
    return True


def _damaged():
    """The path of a file that is not what /lib/sums says, or None."""
    from binascii import crc32

    buf = bytearray(512)
    path = "/lib/sums"
    try:
        if "sums" not in os.listdir("/lib"):
            return None
        with open(path) as lines:
            for line in lines:
                path = line[9:].strip()
                crc = 0
                with open(path, "rb") as file:
                    while n := file.readinto(buf):
                        crc = crc32(memoryview(buf)[:n], crc)
                if crc != int(line[:8], 16):
                    return path
    except (OSError, ValueError):
        return path
    return None


def _start():
    files = os.listdir("/")
    if "lib" in files and (path := _damaged()):
        print("boot: %s is damaged: %s" % (path, _AGAIN))
    elif "main.py" in files:
        __import__("main")
    elif "mote.cfg" in files:
        from mote_device.firmware import main

        main()
    else:
        print("boot: neither /main.py nor /mote.cfg: nothing to run")


try:
    if _mount():
        _start()
except Exception as e:
    sys.print_exception(e)
    print("boot: that has failed; machine.reset() tries again")
