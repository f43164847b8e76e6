"""Arrays that are too long for one packet, put together again."""

from dataclasses import dataclass, field

from mote_host.uplink import MAX_BYTES, Fragment


@dataclass(slots=True)
class _Whole:
    """What has come of one array."""

    number: int
    length: int
    data: bytearray = field(default_factory=bytearray)


class Fragments:
    """Collects one array for each device. The fragments were authenticated one by one."""

    def __init__(self) -> None:
        self._wholes: dict[str, _Whole] = {}

    def take(self, device: str, fragment: Fragment) -> bytes | None:
        """The array, once its last fragment is there.

        A fragment that does not go on where the last one ended drops what was collected: the
        device sends all of it again, under a higher number. One that was here before, of this
        array or of an earlier one, is ignored: somebody repeats it.
        """
        whole = self._wholes.get(device)
        if whole is not None and _is_old(whole, fragment):
            return None
        self._wholes.pop(device, None)
        if fragment.offset == 0:
            whole = _Whole(fragment.number, fragment.length)
        if whole is None or not _fits(whole, fragment):
            return None
        whole.data += fragment.data
        if len(whole.data) == whole.length:
            return bytes(whole.data)
        self._wholes[device] = whole
        return None

    def drop(self, device: str) -> None:
        """Forget what was collected: its numbers may begin anew."""
        self._wholes.pop(device, None)


def _is_old(whole: _Whole, fragment: Fragment) -> bool:
    return (fragment.number, fragment.offset) < (whole.number, len(whole.data))


def _fits(whole: _Whole, fragment: Fragment) -> bool:
    same = (fragment.number, fragment.length) == (whole.number, whole.length)
    end = fragment.offset + len(fragment.data)
    return same and fragment.offset == len(whole.data) and end <= whole.length <= MAX_BYTES
