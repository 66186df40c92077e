"""The running application: the loop, its stages, and the command line."""

import os

# numpy's matrices are small here: more threads would wait for each other on the cores that the networks need.
# To be said before numpy is imported for the first time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
