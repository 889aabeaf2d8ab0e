"""Packages that people carry."""
