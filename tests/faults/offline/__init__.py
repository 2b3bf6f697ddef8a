"""What a gateway needs is away, and comes back: the sidecar, Redis, the issuer of tokens, every upstream."""
