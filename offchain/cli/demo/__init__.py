"""The demonstration: every actor a process of its own, started with the commands that an operator would use.

guardian   a small process that ends all others when the demonstration itself is gone
actors     starting, watching and stopping processes
stage      the folders, keys and configuration of every actor; the chain and the contracts
story      the steps, each of which checks what it shows
report     how it is told
"""
