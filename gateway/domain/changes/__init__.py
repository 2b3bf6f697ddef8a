"""The change log that the data plane's feed reads."""
