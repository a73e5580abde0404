"""What daprd 1.18 says, and what keys may look like."""

from __future__ import annotations

SAVING = "failed saving state in state store store: "
MISMATCH = "possible etag mismatch. error from state store: "
TRANSACTION = "error while executing state transaction: "
SCRIPT_7 = "ERR user_script:12: failed to set key redis||{key} script: 6f4bd3b0a1, on @user_script:12."
SCRIPT_6 = "ERR Error running script (call to f_6f4bd3b0a1): @user_script:12: user_script:12: failed to set key {key} "

NETWORK = [
    "read tcp 172.17.0.3:40122->172.17.0.2:6379: i/o timeout",
    "dial tcp 172.17.0.2:6379: connect: connection refused",
    "dial tcp: lookup redis on 127.0.0.11:53: no such host",
    "write tcp 172.17.0.3:40122->172.17.0.2:6379: write: broken pipe",
    "read tcp 172.17.0.3:40122->172.17.0.2:6379: read: connection reset by peer",
    "use of closed network connection",
    "EOF",
    "unexpected EOF",
    "redis: connection pool timeout",
    "context deadline exceeded",
    "context canceled",
]

# Keys that look like words of the network, and keys so short that they are in every word.
TRICKY = [
    "i",
    "e",
    "t",
    "/o",
    "eof",
    "EOF",
    "i%2Fo timeout",
    "docs/i/o timeout",
    "deadline exceeded",
    "connection refused",
    "o t",
    "failed",
]
