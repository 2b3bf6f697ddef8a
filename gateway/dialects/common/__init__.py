"""What every published reference's routers share: who calls, one transaction a request, errors, wire models."""
