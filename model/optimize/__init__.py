"""What makes a trained segmenter fast to serve, one step a file."""
