"""Lengths of samples from a file of numbers: read in both forms, and what is no length is named with its place."""

from __future__ import annotations

import json

import numpy as np
import pytest

from advisor.dataset.length_file import QUANTILES, lengths_from, read_lengths, refuse_beside
from advisor.errors import BadFile, BadRequest


def put(folder, text):
    path = folder / "lengths.txt"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("text", ["30\n10\n20\n", "[30, 10, 20]", "30 10\n20", "\ufeff30\r\n10\r\n20"])
def test_numbers_a_line_or_a_list_are_read(tmp_path, text):
    found = read_lengths(put(tmp_path, text))
    assert (found.samples, found.mean, found.longest, found.quantiles) == (3, 20, 30, (10, 20, 30))


def test_a_million_rows_are_told_by_few_and_keep_the_longest(tmp_path):
    lengths = np.random.default_rng(0).integers(1, 5000, 10**6)
    lengths[123] = 9999
    found = read_lengths(put(tmp_path, "\n".join(map(str, lengths.tolist()))))
    assert (found.samples, found.longest) == (10**6, 9999)
    assert len(found.quantiles) == QUANTILES
    assert found.quantiles[-1] == 9999
    assert np.mean(found.quantiles) == pytest.approx(found.mean, rel=0.02)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("12\n0\n7", "sample 2 has 0 tokens"),
        ("12\n-3", "sample 2 has -3 tokens"),
        ("12\n99999999999", "sample 2 has 99,999,999,999 tokens"),
        ("", "holds no lengths"),
        ("[]", "holds no lengths"),
        ("[[1, 2]]", "holds no lengths"),
        ("twelve", "no list of token counts"),
        ("[1, 2", "no list of token counts"),
        ("1.5\n2", "no list of token counts"),
        ("9" * 400, "no list of token counts"),
    ],
)
def test_what_is_no_length_is_refused_with_its_place(tmp_path, text, said):
    with pytest.raises(BadFile, match=said):
        read_lengths(put(tmp_path, text))


def test_a_missing_file_and_bytes_are_refused(tmp_path):
    with pytest.raises(BadFile, match="cannot read"):
        read_lengths(str(tmp_path / "none.txt"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(BadFile, match="is not text"):
        read_lengths(str(tmp_path / "bytes"))


def test_longer_samples_are_cut_and_it_is_said(tmp_path):
    fields, notes = lengths_from(put(tmp_path, json.dumps([100, 200, 300, 900])), 250, 2048)
    assert (fields["seq_len"], fields["samples"], fields["mean_seq_len"]) == (250, 4, 200)
    assert fields["length_quantiles"] == (100, 200, 250, 250)
    assert "50.0% of the samples are cut at 250" in notes[1]
    whole, notes = lengths_from(put(tmp_path, "10 20"), None, 2048)
    assert whole["seq_len"] == 20
    assert len(notes) == 1


def test_what_the_file_says_is_not_said_again():
    refuse_beside("file", data=None)
    refuse_beside(None, data="rows.jsonl")
    with pytest.raises(BadRequest, match="--mean-seq-len was given beside --length-file"):
        refuse_beside("file", data=None, mean_seq_len=3.0)
