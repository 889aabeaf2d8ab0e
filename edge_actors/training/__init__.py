"""Makes the small feature extractor of the demo; nothing a device runs imports this package."""
