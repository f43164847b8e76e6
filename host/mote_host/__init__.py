"""The host's side: the gateway, model providers, the store, and the command `mote`."""
