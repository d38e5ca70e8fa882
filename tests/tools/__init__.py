"""The tools that people run against a memcached, run against both servers; a tool that is missing is a failure."""
