"""Class masks -> the bytes and structures of the formats in which masks are exchanged."""
