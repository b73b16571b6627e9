"""From a checked request to what is sent."""
