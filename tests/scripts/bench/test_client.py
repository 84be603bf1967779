"""The client's benchmark against a server that only imitates the service."""

from __future__ import annotations

from scripts.bench.client import compare
from tests.client.cli.journal_server import Journal, journal_server


def test_both_send_every_image_in_every_round() -> None:
    with journal_server(Journal()) as journal:
        throughputs = compare(journal.url, num_images=3, concurrency=2, rounds=2)
    assert len(journal.bodies) == 3
    assert journal.num_served == 3 + 2 * 2 * 3  # the warm-up, then both programs in both rounds
    assert throughputs.ratio == throughputs.segmenter / throughputs.load_generator > 0
