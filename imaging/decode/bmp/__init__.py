"""BMP: header and pixels."""
