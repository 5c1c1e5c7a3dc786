"""Conversations that nobody is having now: read whole over all segments, deleted, or taken over from HKUDS/nanobot."""
