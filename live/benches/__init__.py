"""``bench``: how fast the mirror and the networks are on this machine."""
