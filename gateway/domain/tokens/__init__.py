"""The tokens the gateway itself gives at sign-in, and the keys that sign them."""
