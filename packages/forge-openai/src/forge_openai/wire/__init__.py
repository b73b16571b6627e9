"""Where requests go and how bytes travel: connections, deadlines, trying again."""
