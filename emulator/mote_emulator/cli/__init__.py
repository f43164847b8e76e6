"""The commands of emulated boards."""
