"""``enrol``: learns a person's face from photographs or some seconds of camera."""
