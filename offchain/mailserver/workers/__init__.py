"""Several processes on one port: `crew` starts them and writes what they take in, `worker` is one of them, `channel` is
what they say to each other. docs/decisions/0032 says who does what.
"""
