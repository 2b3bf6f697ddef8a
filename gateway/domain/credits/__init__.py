"""Credits: money paid or given in advance."""
