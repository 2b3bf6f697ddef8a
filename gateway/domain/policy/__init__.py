"""What holds for a credential, put together for the data plane."""
