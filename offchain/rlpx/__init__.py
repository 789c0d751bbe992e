"""RLPx: encrypted, authenticated connections between nodes that know each other's keys (devp2p, rlpx.md, version 5).

    ecies       encryption to a public key
    auth        the handshake that makes the secrets (EIP-8)
    frame       the frames on the wire
    p2p         Hello, Disconnect, Ping, Pong; capabilities and their message ids; compression
    connection  the machine: bytes and time in, bytes, events and the next deadline out
    peer        the shell: connect, serve, send, receive

RLPx alone is not secrecy: its own specification calls the frame scheme broken (one key and one key stream both ways).
"""
