"""What is measured: each peer stands between the load and the mock upstream."""
