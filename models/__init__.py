"""What a model is and how it is run; imports neither live nor export."""
