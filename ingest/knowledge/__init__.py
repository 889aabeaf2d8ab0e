"""What follows from the records: presence, episodes with a status, incidents of the fleet, notifications."""
