"""The demonstration: every actor a process of its own, started with the commands that an operator would use.

guardian   a small process that ends all others when the demonstration itself is gone
actors     starting, watching and stopping processes
stage      the folders, keys and configuration of every actor
chain      the chain and the contracts
scene      what all acts share: who is in it, the client, its history
opening    acts: the chain, the providers, the servers
mail       acts: sender and recipient, servers that go away
vote       acts: a token-curated list, and how a provider is voted out
push       act: a second kind of node
story      which acts in which order
report     how it is told
"""
