"""Threads, memory and growth under load."""
