"""Emulated boards and what their builds need."""
