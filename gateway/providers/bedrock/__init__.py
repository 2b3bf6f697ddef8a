"""Amazon Bedrock: the Converse API, its signatures and the framing of its streams."""
