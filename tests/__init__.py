"""The test suites; a package, so that they share tests.support."""
