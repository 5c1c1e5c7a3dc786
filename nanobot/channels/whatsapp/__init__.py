"""WhatsApp (channel.py says how)."""
