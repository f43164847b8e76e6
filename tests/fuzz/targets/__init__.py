"""The targets, a module each; `make_target()` in it gives the `Target`."""
