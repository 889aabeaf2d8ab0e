"""The bus contract: what any two parts of the system say to each other, and how they connect to say it."""

__version__ = "0.1.0"  # of the whole distribution; the metadata of an installed package costs a device 2 MB to read
