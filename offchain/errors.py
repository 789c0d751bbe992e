"""The error tree.

    WaypostError
      LocalError             what we did wrong, or what the user told us: shown, never swallowed
        ConfigError            a setting or argument is not usable
        StorageError           a database is foreign, damaged or cannot be written
      PeerError              what somebody else did wrong: counted, logged at debug, closes one connection
        DecodeError            bytes are not what they should be; also a ValueError
        ConnectionLost         the other side went away, or never answered
        Refused                the other side said no; carries its reason
      ChainError             what a JSON-RPC endpoint did wrong: another endpoint is tried

Packages derive their own errors from these; a codec has one, derived from DecodeError.
"""

from __future__ import annotations


class WaypostError(Exception):
    """Anything this package raises on purpose."""


class LocalError(WaypostError):
    """What we did wrong, or what the user told us."""


class ConfigError(LocalError):
    """A setting or argument is not usable."""


class StorageError(LocalError):
    """A database is foreign, damaged or cannot be written."""


class PeerError(WaypostError):
    """What somebody else did wrong."""


class DecodeError(PeerError, ValueError):
    """Bytes are not what they should be."""


class ConnectionLost(PeerError):
    """The other side went away, or never answered."""


class Refused(PeerError):
    """The other side said no."""


class ChainError(WaypostError):
    """What a JSON-RPC endpoint did wrong."""
