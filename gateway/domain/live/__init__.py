"""What is entered into the ledger, and noticed, told to whoever listens."""
