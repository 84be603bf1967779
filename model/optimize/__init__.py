"""Optimisations of a trained segmenter for inference, one per file."""

from model.optimize.inference import optimize_for_inference, optimize_for_pixels

__all__ = ["optimize_for_inference", "optimize_for_pixels"]
