"""Where a mail server keeps envelopes: what an archive is (`base`), LMDB (`lmdb`), PostgreSQL (`postgres`), and the one
writer (`writer`).
"""

from __future__ import annotations

from offchain.config import MailserverConfig
from offchain.errors import ConfigError
from offchain.mailserver.archive.base import Archivable, Archive, DayInfo, Page, Query
from offchain.mailserver.archive.lmdb import LmdbArchive

__all__ = ["Archivable", "Archive", "DayInfo", "Page", "Query", "open_archive"]


def open_archive(config: MailserverConfig, *, readonly: bool = False) -> Archive:
    """The archive that the configuration names. ConfigError or StorageError if it cannot be used.

    `readonly`: another process of this server has it open and writes it.
    """
    if not config.database:
        return LmdbArchive(config.data, readonly=readonly)
    try:
        from offchain.mailserver.archive.postgres import PostgresArchive
    except ImportError as error:
        raise ConfigError(
            f"an archive in PostgreSQL needs asyncpg ({error}): pip install 'waypost[postgres]'"
        ) from error
    return PostgresArchive(config.database)
