"""An HTTP request's parts and headers -> what it requests."""
