"""What the test suites share: peers to talk to, a raw client, tables of requests and replies."""
