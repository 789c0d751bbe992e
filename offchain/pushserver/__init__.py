"""A push server: tells a device that is away that mail has arrived for it, by Web Push (RFC 8030, 8291, 8292).

    grant     what a client allows: which topics, where to push, until when; signed and sealed to this server
    ledger    the grants that are in force, in SQLite
    watch     which grants an envelope concerns, and whether to push now: a machine
    webpush   a push as an HTTP request
    service   the server: takes grants over RLPx, reads mail servers' history as any client does, and pushes
    client    registering with one

A second kind of node beside mail servers. It is found, trusted, chosen and connected to by the same code; what is
special about it is in this package.
"""

from offchain.types import Kind

PUSHSERVER = Kind("pushserver")
