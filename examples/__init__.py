"""What a cache is for, each in one file to copy from; README.md has how to run them."""
