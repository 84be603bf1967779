"""HTTP for the segmenter: requests in, responses out."""
