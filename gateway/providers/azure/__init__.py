"""Azure OpenAI: OpenAI's API under deployments. What differs is data, in ``config/providers/azure.yaml``."""
