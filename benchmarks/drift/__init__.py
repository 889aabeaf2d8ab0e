"""The protocol by which drift detection and adaptation are judged, on any labelled picture folder.

pictures -> `pool` (embeddings of many views, cached) -> `streams` -> `runs` (the device, rivals) -> `measures` ->
`table` and `plots`. `docs/drift.md` says what each stream is and how to read the result.
"""
