"""Plans: what a subscriber may use and what it costs."""
