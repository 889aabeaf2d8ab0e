"""What the database keeps and for how long: hours instead of rows, retention, forgetting, who may read."""
