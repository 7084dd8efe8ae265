"""Loading from a folder, its failures in one line, and inputs."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image

from sparsemm.errors import InputError
from sparsemm.models.loading import Loaded, build_inputs, family_of_folder, load_model, render, shape
from sparsemm.models.weights import check_safetensors

from helpers import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, request):
    """A folder as the hub has it, weights in float16."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model = tiny.LlavaNextForConditionalGeneration(tiny.config("mha"))
    model.load_state_dict(tiny.model("mha").state_dict())
    model.half().save_pretrained(folder)
    tiny.processor().save_pretrained(folder)
    return folder


@pytest.fixture
def broken(checkpoint, tmp_path):
    """A copy of the folder that a test may damage."""
    return shutil.copytree(checkpoint, tmp_path / "broken")


def test_load_upcasts_and_answers(checkpoint):
    loaded = load_model(checkpoint)
    assert isinstance(loaded, Loaded)
    assert (loaded.family, loaded.name) == ("llava_next", "tiny")
    assert loaded.revision.startswith("weights-")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert not loaded.model.training
    inputs = build_inputs(loaded, [tiny.image()], ["Read."])
    assert loaded.model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[0] == 1


def test_processor_round_trip_gives_the_same_inputs(checkpoint):
    loaded = load_model(checkpoint)
    images, prompts = [tiny.image(60, 40), tiny.image(20, 64)], ["a", "longer prompt"]
    ours, theirs = (build_inputs(p, images, prompts) for p in (loaded, tiny.processor()))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("variant", "kv"), [("mha", 6), ("gqa", 2)])
def test_shape(variant, kv):
    got = shape(tiny.model(variant))
    assert (got.num_layers, got.num_heads, got.num_kv_heads, got.head_dim) == (3, 6, kv, 8)
    assert got.image_token_id == 4


def test_inputs_are_left_padded_and_templated():
    inputs = build_inputs(tiny.processor(), [tiny.image(20, 64), tiny.image(64, 64)], ["a", "b"])
    mask = inputs["attention_mask"]
    assert (mask[:, -1] == 1).all()
    assert 0 in mask
    assert render(tiny.processor(), "hi") == "<s>USER: <image>\nhi ASSISTANT:"
    several = build_inputs(tiny.processor(), [[tiny.image(), tiny.image(20, 64)]], ["a"])
    assert several["pixel_values"].shape[0] == 2


def test_bad_inputs():
    with pytest.raises(InputError, match="1 images for 2 prompts"):
        build_inputs(tiny.processor(), [tiny.image()], ["a", "b"])
    with pytest.raises(InputError, match="0 x 5"):
        build_inputs(tiny.processor(), [Image.new("RGB", (0, 5))], ["a"])
    with pytest.raises(InputError, match="no chat template"):
        build_inputs(tiny.tokenizer(), [tiny.image()], ["a"])


def fails(folder, match, **options):
    with pytest.raises(InputError, match=match) as caught:
        load_model(folder, **options)
    assert "\n" not in str(caught.value)


def test_missing_folder_and_files(broken, tmp_path):
    fails(tmp_path / "nowhere", "no such model folder")
    (broken / "model.safetensors").unlink()
    fails(broken, "missing weights")
    (broken / "config.json").unlink()
    fails(broken, "config.json: missing")


def test_missing_shard(broken):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (broken / "model.safetensors.index.json").write_text(json.dumps(index))
    fails(broken, "model-00001-of-00002.safetensors: missing weights")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_only_safetensors_weights_are_loaded(broken, name):
    (broken / "model.safetensors").rename(broken / name)
    fails(broken, f"{name}: only safetensors weights are loaded")


def test_code_of_a_folder_is_never_run(broken, tmp_path):
    """A folder may name classes of its own; the stock ones are taken, without a question."""
    mark = tmp_path / "ran"
    (broken / "mine.py").write_text(f"open({str(mark)!r}, 'w')\nclass Mine: pass\n")
    for name, keys in {
        "config.json": ["AutoConfig", "AutoModelForImageTextToText"],
        "processor_config.json": ["AutoProcessor", "AutoImageProcessor"],
        "tokenizer_config.json": ["AutoTokenizer"],
    }.items():
        file = broken / name
        known = json.loads(file.read_text())
        known["auto_map"] = {
            key: ["mine.Mine", None] if key == "AutoTokenizer" else "mine.Mine" for key in keys
        }
        file.write_text(json.dumps(known))
    loaded = load_model(broken)
    assert type(loaded.model) is tiny.LlavaNextForConditionalGeneration
    assert not mark.exists()


def test_family_of_a_folder(checkpoint):
    assert family_of_folder(checkpoint).name == "llava_next"


@pytest.mark.parametrize("left", [0, 4, 100, -1])
def test_truncated_weights(broken, left):
    file = broken / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:left])
    fails(broken, "truncated")


def test_whole_file_passes(checkpoint):
    check_safetensors(checkpoint / "model.safetensors")


def test_unknown_family_and_broken_config(broken):
    file = broken / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"model_type": "bert"}))
    fails(broken, "model_type 'bert' is not supported")
    file.write_text("{")
    fails(broken, "not a transformers config")


def test_weights_of_another_shape(broken):
    file = broken / "config.json"
    config = json.loads(file.read_text())
    config["text_config"]["num_hidden_layers"] += 1
    file.write_text(json.dumps(config))
    fails(broken, "lack or do not fit")


def test_unusable_processor(broken):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (broken / file).unlink()
    fails(broken, "processor")


def test_bad_device_and_dtype(checkpoint):
    fails(checkpoint, "dtype 'int3'", dtype="int3")
    fails(checkpoint, "device 'tpux'", device="tpux")
