"""Sizes from config files, tokens of prompts, and the roofline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, LlamaConfig, MistralConfig, Qwen2VLConfig

from sparsemm.errors import InputError
from sparsemm.preflight import hours
from sparsemm.preflight.machine import Gpu, Machine, read_gpus
from sparsemm.preflight.prompts import most_image_tokens, prompts_of
from sparsemm.preflight.sizes import TEXT_DEFAULTS, VISION_DEFAULTS, ModelSizes, UnknownSizes, read_sizes

from helpers.hub_metadata import CONFIGS, MISTRAL, NUMBERS, QWEN, VICUNA
from project import ROOT

RULES = {"prompt": "rules"}


def sizes_of(name: str, folder: Path) -> ModelSizes:
    (folder / "config.json").write_text(json.dumps(CONFIGS[name]), encoding="utf-8")
    return read_sizes(folder / "config.json")


@pytest.mark.parametrize("config", [LlamaConfig(), MistralConfig()], ids=["llama", "mistral"])
def test_left_out_sizes_are_transformers_defaults(config: LlamaConfig | MistralConfig) -> None:
    for key, value in TEXT_DEFAULTS[config.model_type].items():
        assert getattr(config, key) == value


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_sizes_are_those_that_transformers_reads(name: str, tmp_path: Path) -> None:
    sizes, config = sizes_of(name, tmp_path), AutoConfig.from_pretrained(tmp_path)
    text = config.get_text_config()
    assert (sizes.layers, sizes.hidden, sizes.heads, sizes.kv_heads, sizes.vocabulary) == (
        text.num_hidden_layers,
        text.hidden_size,
        text.num_attention_heads,
        text.num_key_value_heads,
        text.vocab_size,
    )
    assert sizes.intermediate == text.intermediate_size
    assert sizes.head_dim == 128
    embeddings = 2 * sizes.vocabulary * sizes.hidden
    counted = sizes.text_weights + sizes.vision_weights + embeddings
    assert counted == pytest.approx(NUMBERS[name], rel=0.01)


def test_a_broken_config_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with pytest.raises(InputError, match=r"config\.json: missing"):
        read_sizes(file)
    for text in ("{", "[]", "{}"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="not a transformers config"):
            read_sizes(file)
    file.write_text('{"model_type": "llava_next", "vision_config": {}}', encoding="utf-8")
    with pytest.raises(UnknownSizes, match=r"config\.json of this llava_next does not say"):
        read_sizes(file)


def test_qwens_left_out_vision_sizes_are_transformers_defaults() -> None:
    vision = Qwen2VLConfig().vision_config
    for key, value in VISION_DEFAULTS["qwen2_vl"].items():
        assert getattr(vision, key) == value


def test_image_tokens_at_the_limits(tmp_path: Path) -> None:
    vicuna, qwen = sizes_of(VICUNA, tmp_path), sizes_of(QWEN, tmp_path)
    assert most_image_tokens(vicuna, RULES, "paper") == 576 + 48 * 49
    assert most_image_tokens(vicuna, {"pinpoints": [[336, 672]]}, "paper") == 576 + 24 * 49
    assert most_image_tokens(qwen, RULES, "paper") == 16384
    assert most_image_tokens(qwen, RULES, "current") == 768
    assert most_image_tokens(qwen, {**RULES, "max_pixels": 784_000}, "paper") == 1000


def test_mean_tokens_are_the_papers_then_the_fetched_images(tmp_path: Path) -> None:
    table = ROOT / "data/paper/table1_input_tokens.csv"
    qwen = sizes_of(QWEN, tmp_path)
    assert prompts_of(qwen, RULES, "docvqa", rules="paper", table_1=table).mean == 4830
    assert prompts_of(qwen, RULES, "docvqa", rules="current", table_1=table).mean < 768 + 65
    assert prompts_of(qwen, RULES, "gqa", rules="paper", table_1=table).mean == 640 * 480 // 784 + 64
    fetched = prompts_of(qwen, RULES, "docvqa", rules="paper", areas=(784_000, 78_400), table_1=table)
    assert (fetched.mean, fetched.image) == (550 + 64, 1000)
    mistral = sizes_of(MISTRAL, tmp_path)
    assert prompts_of(mistral, RULES, "ocrbench", rules="paper", table_1=table).mean == 1700


def machine(*gpus: Gpu) -> Machine:
    return Machine(gpus, 64 << 30, 16, True, True, False, Path("cache"), lambda path: 1 << 40)


def test_the_roofline_names_its_gpu_and_grows_with_work(tmp_path: Path) -> None:
    sizes = sizes_of(VICUNA, tmp_path)
    assumed = hours.speed_of(machine(), "cuda")
    assert assumed.name == "A100 (assumed, no GPU is visible here)"
    seen = hours.speed_of(machine(Gpu("NVIDIA H100 80GB HBM3", 80 << 30)), "cuda")
    assert seen.name == "NVIDIA H100 80GB HBM3"
    assert hours.prefill_s(sizes, 2433, seen) < hours.prefill_s(sizes, 2433, assumed)
    assert hours.prefill_s(sizes, 2 * 2433, seen) > 2 * hours.prefill_s(sizes, 2433, seen)
    one, many = (hours.step_s(sizes, 2, 2433, rows, seen) for rows in (1, 31))
    assert one == many, "31 rows of one prompt read the same weights, K and V"
    assert hours.step_s(sizes, 2, 2433, 1000, seen) > one


def test_gpus_are_read_as_nvidia_smi_lists_them() -> None:
    assert read_gpus("NVIDIA A100-SXM4-80GB, 81920\nTesla, V100, 16384\n") == (
        Gpu("NVIDIA A100-SXM4-80GB", 81920 << 20),
        Gpu("Tesla, V100", 16384 << 20),
    )
    assert read_gpus("") == read_gpus("No devices were found\n") == ()
