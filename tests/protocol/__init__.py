"""The wire protocol, byte for byte: one suite, two implementations."""
