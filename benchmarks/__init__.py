"""The side-by-side benchmark: the governed gateway beside nginx ``proxy_pass`` on loopback."""
