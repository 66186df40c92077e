"""The running application: the loop, its stages, and the command line."""

import os

# numpy's matrices are small here: more threads would wait for each other on the cores that the networks need.
# To be said before numpy is imported for the first time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# PyAV brings X libraries of its own: loaded before OpenCV, they are taken for OpenCV's, and its window never opens.
import cv2  # noqa: F401
