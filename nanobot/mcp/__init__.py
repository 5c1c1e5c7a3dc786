"""Servers of the Model Context Protocol: each a supervised owner task, their tools beside ours."""
