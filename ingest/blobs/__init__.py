"""What is too large for one message: offered by a device, asked for in chunks, checked as a whole, then an object."""
