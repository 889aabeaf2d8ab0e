"""Makes feature extractors: the demo's, and those of `tinyml train`; nothing a device runs imports this package."""
