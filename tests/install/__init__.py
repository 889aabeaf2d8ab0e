"""install.sh, read by a person and run on Debian."""
