"""Errors of training a feature extractor."""

from ..errors import EdgeError


class TrainingError(EdgeError):
    """A training cannot be done as it was asked for."""
