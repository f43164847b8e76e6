"""What goes onto a device: the daemon `moted`, its configuration, tools and simulated boards."""
