"""What is done now and then, off the path of the records: one file a job, a table of them in `wiring.py`."""
