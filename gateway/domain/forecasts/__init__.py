"""What an organisation's days will cost, and which of those that are over cost what nobody would have expected."""
