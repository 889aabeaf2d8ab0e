"""Numbered steps from an empty database to `schema.sql`. A file that was ever released is never changed."""
