"""PNG: structure, colour chunks, samples wider than a byte, animations."""
