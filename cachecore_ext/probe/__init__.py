"""A window into each room, for tests and benchmarks; the daemon never imports it."""

from cachecore_ext.probe.basics import Clock, Lock, decode_base64, encode_base64, format_number, parse_number
from cachecore_ext.probe.events import Events, Prefixes
from cachecore_ext.probe.memory import Lru, Slabs, Table
from cachecore_ext.probe.parser import Parser
from cachecore_ext.probe.store import Store

__all__ = [
    "Clock",
    "Events",
    "Lock",
    "Lru",
    "Parser",
    "Prefixes",
    "Slabs",
    "Store",
    "Table",
    "decode_base64",
    "encode_base64",
    "format_number",
    "parse_number",
]
