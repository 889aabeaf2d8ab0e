"""The bus contract: what any two parts of the system say to each other, and how they connect to say it."""
