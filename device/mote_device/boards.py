"""The boards that a device can be: what tools they bring and what a reset does to them."""


class NoBoard:
    """No hardware: a device with the user's own tools only."""

    tools = ()

    def reset_outputs(self):
        """Nothing is switched off."""
        return []


def make_board(name, world_file, time_scale):
    """The board named in `[device] board`."""
    if name == "greenhouse":
        from .greenhouse import Greenhouse

        return Greenhouse(world_file, time_scale)
    return NoBoard()
