"""People: how they sign in, and what they are in which organisation."""
