"""What the planes talk over: on one machine a Unix socket, on several Redis."""
