"""Host memory of a shard of document pages: all that an evaluation job does but the model's arithmetic.

    python benchmarks/evaluation_memory.py [--rows 700] [--batch 1] [--limits paper|small] [--json FILE]

The pages (2,000 x 1,700 px, JPEG, all different) lie in a parquet file as DocVQA's do. They are indexed, then read,
decoded, prepared by Qwen2-VL's processor and evaluated. The vision tower and the engine are stand-ins that compute
nothing: on a GPU their tensors are not in host memory. What is printed is the process's peak resident memory as the
kernel counts it (VmHWM), libraries included, and what it held before the first page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from stored_memory import pages, status

LIMITS = {"paper": (25_088, 12_845_056), "small": (3_136, 602_112)}  # pixels: the two rule sets of Qwen2-VL


def make(folder: Path, rows: int) -> None:
    """The data set, a row group of 100 rows each, and its index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sparsemm.benchmarks import get_benchmark
    from sparsemm.benchmarks.stored import index_rows

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [("questionId", pa.string()), ("question", pa.string()), ("answers", pa.list_(pa.string()))]
    schema = pa.schema([*fields, ("image", image)])
    with pq.ParquetWriter(folder / "test.parquet", schema) as writer:
        for index, data in enumerate(pages(rows)):
            row = {"questionId": str(index), "question": "What?", "answers": ["a"]}
            writer.write_table(
                pa.Table.from_pylist([row | {"image": {"bytes": data, "path": ""}}], schema=schema)
            )
    benchmark: Any = get_benchmark("docvqa")
    index_rows(benchmark.stored, folder, ["test.parquet"])


def measure(folder: Path, rows: int, batch: int, limits: str) -> None:
    """What the child process does; prints what it found as JSON."""
    import torch
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    import sparsemm.evaluation.batches as batches
    from sparsemm.benchmarks import get_benchmark
    from sparsemm.evaluation.engine.run import EngineOutput
    from sparsemm.evaluation.evaluate import RunSettings, evaluate, make_cells
    from sparsemm.models.loading import Loaded

    from helpers.tiny_families import tiny_family

    def tower(pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, **_: Any) -> Any:
        tokens = (image_grid_thw.prod(-1) // 4).tolist()
        return SimpleNamespace(pooler_output=[torch.zeros(count, 3584) for count in tokens])

    def engine(model: Any, inputs: Any, policies: Any, **_: Any) -> EngineOutput:
        samples, width = inputs["input_ids"].shape
        kept = torch.ones(len(policies), samples, 3, 2, dtype=torch.int64)
        return EngineOutput([[[9]] * samples for _ in policies], kept, torch.full((samples,), width), samples)

    model, processor = tiny_family("qwen2_vl")
    least, most = LIMITS[limits]
    processor.image_processor = Qwen2VLImageProcessorPil(min_pixels=least, max_pixels=most)
    model.get_image_features = tower
    batches.run_cells = engine
    cells = make_cells([("fullkv", 0), *[("snapkv", budget) for budget in range(64, 100)]], window=32)
    benchmark = get_benchmark("docvqa", folder=folder)
    before, start = status("VmHWM"), time.perf_counter()
    samples = list(benchmark.load(None, 0))
    settings = RunSettings(batch_size=batch, workdir=folder / "work")
    frame = evaluate(Loaded(model, processor, "qwen2_vl", "tiny", "0"), benchmark, samples, cells, settings)
    assert len(frame) == rows * len(cells)
    seconds = time.perf_counter() - start
    print(json.dumps({"peak": status("VmHWM"), "before": before, "seconds": seconds}))


def main() -> None:
    """Make the data set, evaluate it in a process of its own, print its peak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=700)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--limits", choices=LIMITS, default="paper")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return measure(given.child, given.rows, given.batch, given.limits)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), given.rows)
        options = ["--rows", str(given.rows), "--batch", str(given.batch), "--limits", given.limits]
        command = [sys.executable, __file__, "--child", folder, *options]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{given.rows} pages, {given.batch} at once, limits {given.limits}: peak {found['peak'] / 1e6:.0f} MB, "
        f"{found['before'] / 1e6:.0f} MB before the first page, {found['seconds']:.0f} s"
    )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
