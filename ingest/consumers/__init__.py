"""From messages to rows, one file a subject."""
