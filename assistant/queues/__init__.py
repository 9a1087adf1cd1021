"""How messages travel between the daemon and its stages; nothing outside this package knows."""
