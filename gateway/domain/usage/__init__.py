"""How much of a limit is used."""
