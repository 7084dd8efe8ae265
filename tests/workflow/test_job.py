"""What a rule's script gets from `job`: the model as its entry in the configuration says, and the result's metadata."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sparsemm.errors import InputError
from sparsemm.evaluation.configured import Shard
from sparsemm.evaluation.evaluate import evaluate
from sparsemm.heads.scores import HeadScores
from sparsemm.models.loading import render
from sparsemm.results.parquet import read_metadata

from helpers import rule_models, tiny
from project import ROOT, save_mini_model


class Named(SimpleNamespace):
    """Attributes that can be listed, as Snakemake's params and wildcards."""

    def items(self) -> Any:
        return vars(self).items()


@pytest.fixture(scope="module")
def job_class() -> Any:
    folder = str(ROOT / "workflow" / "scripts")
    sys.path.insert(0, folder)
    try:
        import job
    finally:
        sys.path.remove(folder)
    return job.Job


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mini"
    save_mini_model(folder)
    return folder


def run(job_class: Any, device: str = "cpu", rules: str = "paper", **model: Any) -> Any:
    params = Named(model=model, settings={"seed": 0, "device": "auto", "rules": rules})
    return job_class(Named(params=params, wildcards=Named(model="m"), input=[]), device, 1)


def test_weights_on_a_cpu_are_float32_whatever_the_dtype(job_class: Any, mini: Path) -> None:
    job = run(job_class, path=mini, family="llava_next", dtype="bfloat16")
    loaded = job.load_model()
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert job.record(loaded.processor)["dtype"] == "float32"
    assert run(job_class, "cuda", path=mini, family="llava_next", dtype="bfloat16").dtype == "bfloat16"


def test_predictions_keep_the_configuration_that_answers_them_again(
    job_class: Any, mini: Path, tmp_path: Path
) -> None:
    settings = {
        "seed": 0,
        "device": "cpu",
        "rules": "paper",
        "generation": "model",
        "limit": None,
        "window": 4,
    }
    settings |= {"kernel": 5, "ranking": {"dtype": "float32"}, "rho": 0.1, "beta": 20, "floor": 0.2}
    params = Named(
        model={"path": str(mini), "family": "llava_next", "dtype": "float32"},
        benchmark={"samples": 1, "shards": 1, "batch_size": 1, "max_new_tokens": 2},
        settings=settings,
        shard=0,
        work=None,
    )
    wildcards = Named(model="m", benchmark="synth-ocr", shard="0")
    job = job_class(Named(params=params, wildcards=wildcards, input=[]), "cpu", 1)
    shard = job.shard()
    benchmark = shard.make_benchmark()
    samples, loaded = shard.samples(benchmark), shard.load_model("cpu", job.dtype)
    how = shard.run_settings(progress=False)
    cells = shard.cells([("fullkv", 0)], loaded, HeadScores(np.full((tiny.LAYERS, tiny.HEADS), 1 / 18)), {})
    frame = evaluate(loaded, benchmark, samples, cells, how)
    made = {"loaded": loaded, "benchmark": benchmark, "samples": samples, "settings": how, "shard": shard}
    job.write_answers(str(tmp_path / "0.parquet"), frame, "predictions", **made)
    facts = read_metadata(tmp_path / "0.parquet")
    assert Shard.of(facts["configuration"]) == shard
    assert (facts["device"], facts["dtype"], facts["inputs"]) == ("cpu", "float32", {})


@pytest.mark.parametrize("load", ["load_model", "load_processor"])
def test_folder_of_another_family_is_one_line(job_class: Any, mini: Path, load: str) -> None:
    job = run(job_class, path=mini, family="qwen2_vl", dtype="float32")
    with pytest.raises(
        InputError, match=r"models\.m\.family is qwen2_vl, but .*mini holds a model of llava_next"
    ):
        getattr(job, load)()


def test_prompt_and_image_keys_reach_the_processor_and_the_record(job_class: Any, tmp_path: Path) -> None:
    entry = {
        "path": rule_models.save_processor(tmp_path, "qwen2_vl"),
        "family": "qwen2_vl",
        "dtype": "bfloat16",
        "hub": "Qwen/Qwen2-VL-7B-Instruct",
    }
    job = run(job_class, **entry, prompt="rules", max_pixels=1_000_000)
    processor = job.load_processor()
    assert render(processor, "hi").startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    record = job.record(processor)
    assert record["image_limits"]["max_pixels"] == 1_000_000
    assert record["limits_note"] == (
        "image limits differ from the paper's: max_pixels 1,000,000 in place of 12,845,056"
    )
    whole = run(job_class, **entry, prompt="rules")
    assert whole.record(whole.load_processor())["limits_note"] == ""
    own = run(job_class, **entry)
    assert "jpeg_quality none in place of 75" in own.record(own.load_processor())["limits_note"]
    del entry["hub"]
    ours = run(job_class, **entry)
    assert ours.record(ours.load_processor())["limits_note"] == ""
