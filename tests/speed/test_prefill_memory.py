"""Memory of a prefill: when a layer packs, the full keys and values of the layers before it are gone."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from sparsemm import FullKV, SnapKV, compress
from sparsemm.cache.ragged import RaggedLayer

from helpers import tiny

SCRIPT = Path(__file__).parents[2] / "benchmarks/prefill_memory.py"


@pytest.mark.parametrize("storage", ["auto", "int8", "int4"])
@pytest.mark.parametrize("policy", [FullKV(), SnapKV(24, window=8)])
def test_one_layers_full_keys_and_values_are_alive_at_a_time(policy, storage, no_collector, monkeypatch):
    alive: list[int] = []
    seen: list[weakref.ref] = []
    pack = RaggedLayer.pack

    def watched(layer, key, value, kept, **options):
        alive.append(sum(each() is not None for each in seen))
        seen.extend((weakref.ref(key.untyped_storage()), weakref.ref(value.untyped_storage())))
        return pack(layer, key, value, kept, **options)

    monkeypatch.setattr(RaggedLayer, "pack", watched)
    with compress(tiny.model(), policy, storage=storage) as run:
        tiny.model().generate(**tiny.inputs(tiny.UNEQUAL), max_new_tokens=2, do_sample=False)
        held = run.reserved_bytes
    assert alive == [0] * tiny.LAYERS
    assert all(each() is None for each in seen)
    assert held >= run.cache_bytes


def test_the_memory_benchmark_measures_one_cell():
    command = [sys.executable, str(SCRIPT), "--cell", "snapkv-int8", "--tokens", "256", "--budget", "48"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["cache_mib"] < 24 * 16 * 256 * 2 * 64 * 4 / 2**20
    assert row["peak_mib"] >= 0
