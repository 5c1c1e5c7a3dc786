"""E-mail (channel.py says how)."""
