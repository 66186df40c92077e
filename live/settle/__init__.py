"""``--settle``: learns in idle time whoever stays before the camera."""
