"""The device: small actors in one process that recognise, notice change, adapt and report."""

import os

# NumPy reads this when it is loaded. Matrices here are small, and a second thread that has to be waited for makes one
# search in a hundred take fifty times as long while anything else runs; each brings buffers of its own as well.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
