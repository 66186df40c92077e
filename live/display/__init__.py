"""What the window shows over the picture, and what its keys do."""
