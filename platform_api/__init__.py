"""The REST API for people and programs, and the publisher that brings their labels to the devices."""
