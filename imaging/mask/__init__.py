"""Logits on the network's grid -> class ids and confidence for every pixel of the photo."""
