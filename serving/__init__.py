"""HTTP for the segmenter: what a request asks for, and what its sender gets."""
