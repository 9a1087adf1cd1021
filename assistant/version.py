"""The version, in a module of its own: the daemon may not import the package, which has the client."""

from __future__ import annotations

__version__ = "0.1.0"
