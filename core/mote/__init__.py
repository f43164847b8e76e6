"""The agent core: one log, the agent as a fold over it, effects for somebody else to perform.

Pure: no sockets, files, clock, asyncio or print in here. It runs on MicroPython and on CPython.
Read in this order: msgpack, log, records, turn, agent, tools, wire, link; mqtt stands alone.
"""

__version__ = "0.1.0"
