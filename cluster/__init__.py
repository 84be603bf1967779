"""Ray's adapter: the archive's service behind Ray Serve, on one machine or many."""
