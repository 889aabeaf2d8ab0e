"""One cooperative loop. One admitted message is delivered with everything it leads to before the next is let in.

Actors are plain objects: no thread, no clock, no socket, no reference to each other. That is why a snapshot is
consistent between any two messages, why nothing needs a lock, and why a recording replays to the same bytes.
"""
