"""Where the device touches the world: disk, model runtime, camera, network. Small protocols, real and embedded parts.

Actors know the protocols only; `wiring` and the command line put the parts in.
"""
