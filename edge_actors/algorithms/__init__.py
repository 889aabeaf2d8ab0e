"""Numbers only: nothing here knows messages, actors, files or the clock."""
