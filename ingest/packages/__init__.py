"""Packages: files that a person carries from a device that has no link to the server.

A package is an export of a spool, a bare sequence of records, a bundle, or an archive (tar, zip; packed with gzip or
zstd) that holds such things and pictures. What it is is told by its content. Nothing is ever unpacked to a file that
an archive names: entries are read as streams, counted and bounded, twice at least. The first reading looks at
everything and stores nothing, so a hostile or damaged archive is refused before it has changed anything.
"""
