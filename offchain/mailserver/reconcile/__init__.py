"""Finding out what another mail server has and we lack, without sending what both have: range-based set reconciliation.

`fingerprint` sums up a set; `packets` is the codec of wpsync/1; `summary` looks into our archive; `teller` answers
another server's questions; `asker` asks them; `exchange` joins both to a connection. docs/decisions/0030 says why.
"""
