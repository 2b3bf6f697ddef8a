"""One module for each thing that is measured; each starts what it needs and ends it."""
