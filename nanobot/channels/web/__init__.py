"""The page's chat (channel.py says how)."""
