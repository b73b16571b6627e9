"""From the bytes of an answer to events. No input or output of its own: the same for threads and event loops."""
