"""The device: small actors in one process that recognise, notice change, adapt and report."""

import os

# The matrices of a device are small: threads would only wait for one another, and each brings buffers of its own.
# NumPy reads this once, when it is imported, and everything of the device is imported through here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
