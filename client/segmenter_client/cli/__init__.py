"""The command line `segmenter`."""
