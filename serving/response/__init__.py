"""A segmentation -> the bytes of a response, one file for each protocol or family of formats."""
