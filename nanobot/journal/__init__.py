"""Journals: what was acknowledged is on disk. Knows nothing of sessions: records and snapshots are JSON that it never reads."""
