"""Sockets: connections, and the workers that serve them."""
