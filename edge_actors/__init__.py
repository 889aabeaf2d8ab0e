"""The device: small actors in one process that recognise, notice change, adapt and report."""
