"""Apps: software that calls the gateway with a credential of its own and a tier."""
