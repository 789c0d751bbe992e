"""Following the registry and its curators through a JSON-RPC endpoint that is not trusted.

rpc         ask endpoints, and move on from those that fail
header      block headers whose hash is rebuilt here
events      log -> typed event, strict
commitment  the rolling hash over the registry's events
proof       Merkle-Patricia proofs of accounts and storage slots
facts       the fold of events, in layers
follower    which blocks make up the head of the chain (no I/O)
ledger      proven facts, the head over them, and what an update touched (no I/O)
checkpoint  what survives a kill -9 (SQLite)
branch      headers and logs of the blocks that the follower wants
prover      what an endpoint must prove, and how many must agree
ranges      backfill: how many blocks to ask for, in order, several at a time
heads       new heads by WebSocket and by polling
agreement   what the other endpoints say of the chain's height
attest      proving at the head
tags        the blocks that an endpoint calls final, safe or latest
news        what the watcher tells
snapshot    the proven history in a file
watcher     all of it together
"""
