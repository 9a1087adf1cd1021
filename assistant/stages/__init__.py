"""The four stages, each the work of one process; they know messages, never the daemon."""
