"""Simulations: the same state machines as a real node's, on a clock and a network that only exist in memory.

registrar    one registrar under a load of honest and hostile advertisers, for hours
network      many whole nodes

Deterministic: the same seed gives the same trace, and its hash. `python -m offchain.discovery.sim --help`
"""
