"""The HTTP surface of the data plane: inference endpoints as a table, the small rest as Starlette handlers."""
