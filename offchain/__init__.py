"""Waypost off chain: find server nodes, check them against the registry, use them over an encrypted connection."""

__version__ = "0.1.0"
