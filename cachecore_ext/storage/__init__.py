"""Where items live: chunks, their order of eviction, the table that finds them, and the one door to it all."""
