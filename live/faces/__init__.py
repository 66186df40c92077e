"""Faces in the frames: found, followed, known again, steadied, cut out."""
