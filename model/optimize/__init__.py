"""What makes a trained segmenter fast to serve, one step a file."""

from model.optimize.inference import optimize_for_inference, optimize_for_pixels

__all__ = ["optimize_for_inference", "optimize_for_pixels"]
