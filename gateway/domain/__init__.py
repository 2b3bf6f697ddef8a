"""What the product is about, one folder a noun: model, repository, service. Knows nothing of HTTP."""
