"""Which device ran which bundle, from when to when, and what the model registry was told of it."""
