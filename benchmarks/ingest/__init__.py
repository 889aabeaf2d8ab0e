"""What the server side of the bus can carry: ours beside a naive worker, a bare client loop and a bare COPY loop.

`python -m benchmarks.ingest --help` tells the rest.
"""
