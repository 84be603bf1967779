"""Segment images by a running service: `segmenter` from the checkout, without its installation."""

from segmenter_client.cli.program import run

if __name__ == "__main__":
    run()
