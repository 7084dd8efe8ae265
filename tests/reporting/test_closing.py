"""The last lines of a run: three numbers and the page, from its tables; nothing where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsemm.reporting.closing import closing_lines

FINDINGS = """model,benchmark,budget,fullkv_score,sparsemm_score,best_other,difference,ci_low,ci_high
m,vqa,16,0.9,0.5,adakv,0.3,0.2,0.4
m,vqa,32,0.9,0.82,adakv,0.26,0.23,0.3
m,vqa,64,0.9,0.9,adakv,0.1,0.05,0.15
m,ocr,64,0.9,0.4,snapkv,0.1,0.05,0.15
"""
PROFILE = """model,policy,budget,input_tokens,batch,status,decode_ms_per_token,cache_bytes
m,fullkv,0,2048,1,ok,5,1048576
m,fullkv,0,4096,1,ok,20,452984832
m,sparsemm,256,4096,1,ok,2.5,3565158
m,sparsemm,256,4096,8,ok,99,3565158
m,sparsemm,256,8192,1,out of memory,,
"""


def test_quality_speed_memory_and_the_page(tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    paper.mkdir()
    (paper / "findings.csv").write_text(FINDINGS)
    (paper / "table_profile.csv").write_text(PROFILE)
    assert closing_lines(tmp_path) == []  # no page yet: a stage was asked for
    (paper / "report.html").write_text("<html>")
    score, decode, memory, page = closing_lines(tmp_path)
    assert (
        "vqa: SparseMM has 91% of FullKV's with 32 tokens a head, +0.260 [+0.230, +0.300] against adakv"
        in score
    )
    assert "4096 tokens: 2.50 ms a token, 20.00 ms with the full cache (8.0 times)" in decode
    assert "3.4 MiB of K and V, 432.0 MiB in the full cache" in memory
    assert page.endswith("paper/report.html")


def test_tables_that_were_not_run_say_nothing(tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    paper.mkdir()
    (paper / "report.html").write_text("<html>")
    (paper / "findings.csv").write_text("model,benchmark,status\n,,not run\n")
    assert len(closing_lines(tmp_path)) == 1
    (paper / "findings.csv").write_text("model,benchmark\nm,vqa\n")
    with pytest.raises(KeyError):
        closing_lines(tmp_path)
