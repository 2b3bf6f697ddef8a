"""The published API references, one folder each, over one domain."""
