"""Print a TCP port that is free now, for the chain that Brownie launches."""

import socket

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    print(probe.getsockname()[1])
