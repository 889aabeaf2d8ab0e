"""Everything that makes a device know its things: one file, named by its content, checked whole or refused."""

from .bundle import Bundle as Bundle
