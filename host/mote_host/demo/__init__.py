"""`mote demo`: broker, gateway and one simulated device on this machine, and one ask."""
