"""Roles and permissions, as config/roles.yaml names them."""
