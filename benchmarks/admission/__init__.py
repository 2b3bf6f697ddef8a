"""What admission costs: a decision on a credential that is held, a flood of made-up keys, leases of shared limits."""
