from __future__ import annotations

import json
from pathlib import Path

import torch

from scripts.training.dataset import Frame
from scripts.training.metrics import mean_iou_interval, scores_of
from scripts.training.report import json_text, scores_by_sequence, table, with_interval

LABELS = ("sky", "ground")
FRAMES = [Frame(Path(f"{name}.jpg"), Path(f"{name}.png")) for name in ("b_0", "a_x_1", "b_2", "c")]
CONFUSIONS = torch.tensor(
    [[[9, 1], [2, 8]], [[5, 5], [5, 5]], [[7, 3], [0, 10]], [[10, 0], [0, 10]]]
)


def test_each_sequence_gets_the_scores_of_its_own_frames() -> None:
    sequences = scores_by_sequence(CONFUSIONS, FRAMES, LABELS)
    assert list(sequences) == ["a_x", "b", "c"]  # sorted; a name without underscore is its own
    expected = CONFUSIONS[[0, 2]]
    assert sequences["b"].iou == scores_of(expected, LABELS).iou
    assert sequences["b"].interval == mean_iou_interval(expected)
    assert [scores.num_frames for scores in sequences.values()] == [1, 2, 1]


def test_the_table_has_a_column_for_each_sequence() -> None:
    sequences = scores_by_sequence(CONFUSIONS, FRAMES, LABELS)
    lines = table({"all": with_interval(CONFUSIONS, LABELS), **sequences}).splitlines()
    cells = {line[:14].strip(): line[14:].split() for line in lines}
    assert cells[""] == ["all", "a_x", "b", "c"]
    assert cells["sky"][1:] == ["33.33", "72.73", "100.00"]
    assert cells["95 % from"][1:] == ["33.33", *cells["95 % from"][2:3], "100.00"]
    assert float(cells["95 % from"][2]) <= float(cells["mean IoU"][2])
    assert float(cells["95 % to"][2]) >= float(cells["mean IoU"][2])


def test_json_has_sequences_only_if_there_are_any() -> None:
    scores = scores_of(CONFUSIONS, LABELS)
    assert "sequences" not in json.loads(json_text(scores, {}))
    sequences = scores_by_sequence(CONFUSIONS, FRAMES, LABELS)
    document = json.loads(json_text(scores, sequences))
    assert list(document["sequences"]) == ["a_x", "b", "c"]
    assert document["sequences"]["c"]["interval"] == [1, 1]
