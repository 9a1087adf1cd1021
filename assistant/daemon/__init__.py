"""The hub: turns, conversations, supervision of the stages; it never imports an engine."""
