"""The engine's HTTP endpoints, one module each."""
