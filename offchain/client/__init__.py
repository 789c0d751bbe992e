"""The client: finds nodes, keeps a pool of trusted ones, and reads and sends mail through them.

    finder   discovery's records and the registry's ids -> trusted contacts, and who was discarded and why
    pool     trusted contacts -> open connections, picked from at random, closed the moment trust ends
    mailbox  a request for history or a message to send -> one of the pool's nodes, and another if that one fails;
             what arrives, as it arrives; what was never read; what a second server says

`finder_machine`, `pool_machine`, `history`, `follow`, `cross_check` and `clock_watch` decide; `finder`, `pool`, `link`
and `mailbox` have the tasks and the sockets; `coverage` and `health` are what is remembered over restarts.
"""
