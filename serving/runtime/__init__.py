"""From an unpacked archive to responses: loading, devices, and the stages of a batch."""
