"""Where a mail server keeps envelopes: what an archive is (`base`), LMDB (`lmdb`), and the one writer (`writer`)."""

from offchain.mailserver.archive.base import Archivable, Archive, DayInfo, Page, Query

__all__ = ["Archivable", "Archive", "DayInfo", "Page", "Query"]
