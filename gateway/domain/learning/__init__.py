"""What learned routes decided, what came of it, and what each organization's feedback taught."""
