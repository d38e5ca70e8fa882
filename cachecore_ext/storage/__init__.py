"""Where items live: chunks, their order of eviction, the table that finds them, the one door."""
