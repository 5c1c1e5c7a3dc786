"""Telegram (channel.py says how)."""
