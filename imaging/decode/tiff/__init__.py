"""TIFF: a family of formats, of which each file is one."""
