"""Topic discovery: servers advertise what they serve at registrars, clients ask registrars who advertises.

As merged into the discv5 specification in June 2026 (ethereum/devp2p, pull request 270; the DISC-NG family). Every node
is a registrar. All of this is state machines without sockets or clocks:

registrar    whom to advertise, and for whom: ad_cache, admission (with ip_tree), ticket
advertiser   where to be advertised: service_table
discoverer   whom to ask, and when it is enough: service_table
directory    all of them as one, on the requests and contacts of a node

Only nodes that announce the capability in their record are sent topic messages.
"""
