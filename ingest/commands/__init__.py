"""The subcommands of `tinyml ingest`, one module each."""
