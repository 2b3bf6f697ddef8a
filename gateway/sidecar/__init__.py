"""The process that owns all state: admin APIs, policy for the data plane, ingestion of usage."""
