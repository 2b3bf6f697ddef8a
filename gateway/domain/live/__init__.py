"""What is entered into the ledger, told to whoever listens."""
