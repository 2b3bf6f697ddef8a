"""A gateway under load whose workers are replaced, whose configuration is read anew, and which is told to end."""
