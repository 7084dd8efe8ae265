"""compress around plain `generate`, against the plain model and dense attention with dropped positions at -inf."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TextIteratorStreamer, TextStreamer

from sparsemm import AdaKV, FullKV, PyramidKV, SnapKV, SparseMM
from sparsemm.generation.compress import compress
from sparsemm.models.loading import shape

from helpers import tiny
from helpers.generation import generate
from helpers.oracle import dense_oracle, kept_masks

WINDOW = 8
BATCHES = {"one": None, "padded": tiny.UNEQUAL}


def policies(heads: int) -> list:
    """One of each method at a small budget; SparseMM's scores are as unequal as real ones."""
    scores = (
        torch.rand(tiny.LAYERS, heads, generator=torch.Generator().manual_seed(3), dtype=torch.float64) ** 4
    )
    scores /= scores.sum()
    size = {"budget": 24, "window": WINDOW}
    return [SnapKV(**size), PyramidKV(**size), AdaKV(**size), SparseMM(scores.numpy(), **size)]


@pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES)
def test_unlimited_budget_is_plain_generate(variant, sizes):
    model, inputs = tiny.model(variant), tiny.inputs(sizes)
    tokens, logits = generate(model, inputs)
    with compress(model, FullKV()) as run:
        ours, our_logits = generate(model, inputs)
    assert torch.equal(ours, tokens)
    torch.testing.assert_close(our_logits, logits, atol=1e-5, rtol=0)
    real = inputs["attention_mask"].sum(-1)
    assert torch.equal(run.kept, real[None, :, None].expand(run.kept.shape))


@pytest.mark.parametrize("index", range(4), ids=["snapkv", "pyramidkv", "adakv", "sparsemm"])
@pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES)
def test_limited_budget_is_dense_attention_with_drops(variant, sizes, index):
    model, inputs = tiny.model(variant), tiny.inputs(sizes)
    heads = shape(model).num_kv_heads
    policy = policies(heads)[index]
    kept = kept_masks(model, inputs, policy)
    assert not (kept & (inputs["attention_mask"] == 0)[None, :, None]).any()
    with dense_oracle(model, kept):
        tokens, logits = generate(model, inputs)
    with compress(model, policy) as run:
        ours, our_logits = generate(model, inputs)
    assert torch.equal(ours, tokens)
    torch.testing.assert_close(our_logits, logits, atol=1e-5, rtol=0)
    assert torch.equal(run.kept, kept.sum(-1))
    assert run.kept.dtype == torch.int64
    assert run.kept.float().mean() < 30
    assert run.cache_bytes == int(run.kept.sum()) * 2 * tiny.HEAD_DIM * 4
    full = int(inputs["attention_mask"].sum()) * tiny.LAYERS * heads * 2 * tiny.HEAD_DIM * 4
    assert run.cache_bytes < 0.4 * full


@pytest.mark.parametrize("index", range(4), ids=["snapkv", "pyramidkv", "adakv", "sparsemm"])
def test_padded_row_is_its_own_run(variant, index):
    model = tiny.model(variant)
    policy = policies(shape(model).num_kv_heads)[index]
    batch = tiny.inputs(tiny.UNEQUAL)
    with compress(model, policy) as run:
        tokens, logits = generate(model, batch)
        together = run.kept
        for row in range(len(tiny.UNEQUAL)):
            real = batch["attention_mask"][row].bool()
            single = {
                "input_ids": batch["input_ids"][row : row + 1, real],
                "attention_mask": torch.ones(1, int(real.sum()), dtype=torch.long),
                "pixel_values": batch["pixel_values"][row : row + 1],
                "image_sizes": batch["image_sizes"][row : row + 1],
            }
            own, own_logits = generate(model, single)
            assert torch.equal(own[0], tokens[row])
            assert torch.equal(run.kept[:, 0], together[:, row])
            torch.testing.assert_close(own_logits[:, 0], logits[:, row], atol=1e-5, rtol=0)


def test_budget_above_the_prompt_keeps_everything(variant):
    model, inputs = tiny.model(variant), tiny.inputs()
    tokens, _ = generate(model, inputs)
    with compress(model, SnapKV(budget=4096, window=WINDOW)) as run:
        ours, _ = generate(model, inputs)
    assert torch.equal(ours, tokens)
    assert (run.kept == inputs["input_ids"].shape[1]).all()


def test_window_longer_than_the_prompt(variant):
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    tokens, _ = generate(model, inputs)
    with compress(model, SnapKV(budget=500, window=400)) as run:
        ours, _ = generate(model, inputs)
    assert torch.equal(ours, tokens)
    assert torch.equal(run.kept[0, :, 0], inputs["attention_mask"].sum(-1))


@pytest.mark.parametrize("policy", [FullKV(), SnapKV(budget=24, window=WINDOW)], ids=["fullkv", "snapkv"])
@pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES)
def test_later_turns(variant, policy, sizes):
    """A second turn appends several tokens at once, without another prefill."""
    model, inputs = tiny.model(variant), tiny.inputs(sizes)

    def two_turns():
        first = model.generate(**inputs, max_new_tokens=5, do_sample=False, return_dict_in_generate=True)
        rows = inputs["input_ids"].shape[0]
        more = torch.tensor([[30, 41, 52, 63]]).expand(rows, -1)
        ids = torch.cat([first.sequences, more], 1)
        mask = torch.cat([inputs["attention_mask"], inputs["attention_mask"].new_ones(rows, 9)], 1)
        return model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=first.past_key_values,
            max_new_tokens=6,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )

    with compress(model, policy) as run:
        ours = two_turns()
        assert run.cache.get_seq_length() == inputs["input_ids"].shape[1] + 5 + 4 + 6 - 1
        lengths = run.cache.layers[0].store.lengths
        assert torch.equal(lengths - run.kept[0], torch.full_like(lengths, 5 + 4 + 6 - 1))
    with dense_oracle(model, kept_masks(model, inputs, policy)):
        plain = two_turns()
    assert torch.equal(ours.sequences, plain.sequences)
    torch.testing.assert_close(torch.stack(ours.logits), torch.stack(plain.logits), atol=1e-5, rtol=0)


LIMITED = SnapKV(budget=24, window=WINDOW)


@pytest.mark.parametrize("policy", [FullKV(), LIMITED], ids=["fullkv", "snapkv"])
def test_sampling_and_several_sequences(variant, policy):
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    options = {"do_sample": True, "temperature": 1.5, "num_return_sequences": 2, "max_new_tokens": 6}
    kept = kept_masks(model, inputs, policy).repeat_interleave(2, dim=1)
    torch.manual_seed(5)
    with dense_oracle(model, kept):
        plain, logits = generate(model, inputs, **options)
    torch.manual_seed(5)
    with compress(model, policy) as run:
        ours, our_logits = generate(model, inputs, **options)
    assert torch.equal(ours, plain)
    torch.testing.assert_close(our_logits, logits, atol=1e-5, rtol=0)
    assert not torch.equal(ours[::2], ours[1::2])
    assert torch.equal(run.kept, kept.sum(-1))


@pytest.mark.parametrize("policy", [FullKV(), LIMITED], ids=["fullkv", "snapkv"])
def test_several_images_in_a_prompt(variant, policy):
    """Two images, one and none: rows of very unequal length."""
    model = tiny.model(variant)
    images = [[tiny.image(60, 40), tiny.image(20, 64, seed=1)], [tiny.image(64, 64, seed=2)]]
    texts = ["<s>USER: <image>\n<image>\nCompare. ASSISTANT:", "<s>USER: <image>\nRead. ASSISTANT:"]
    texts.append("<s>USER: no image ASSISTANT:")
    inputs = dict(tiny.processor()(images=[*images, []], text=texts, return_tensors="pt", padding=True))
    plain, plain_logits = generate(model, inputs)
    with dense_oracle(model, kept_masks(model, inputs, policy)):
        tokens, logits = generate(model, inputs)
    with compress(model, policy):
        ours, our_logits = generate(model, inputs)
    assert torch.equal(ours, tokens)
    torch.testing.assert_close(our_logits, logits, atol=1e-5, rtol=0)
    if policy is not LIMITED:
        torch.testing.assert_close(our_logits, plain_logits, atol=1e-5, rtol=0)
        assert torch.equal(ours, plain)


def test_scores_hidden_states_and_stopping_rows(variant):
    """Rows that meet the stop token early are padded, as without compress; `generate` returns the same things."""
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    stop = int(generate(model, inputs)[0][0, 3])
    options = {
        "max_new_tokens": 10,
        "eos_token_id": stop,
        "repetition_penalty": 1.3,
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_hidden_states": True,
    }
    plain = model.generate(**inputs, **options, do_sample=False)
    with compress(model, FullKV()) as run:
        ours = model.generate(**inputs, **options, do_sample=False)
        assert ours.past_key_values is run.cache
    assert set(ours) == set(plain)
    assert torch.equal(ours.sequences, plain.sequences)
    torch.testing.assert_close(torch.stack(ours.scores), torch.stack(plain.scores), atol=1e-5, rtol=0)
    for mine, theirs in zip(ours.hidden_states[1:], plain.hidden_states[1:], strict=True):
        torch.testing.assert_close(mine[-1], theirs[-1], atol=1e-4, rtol=0)


class Collected(TextStreamer):
    """Keeps what a TextStreamer would print."""

    text = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.text += text


@pytest.mark.parametrize("policy", [FullKV(), LIMITED], ids=["fullkv", "snapkv"])
def test_streaming(variant, policy):
    model, inputs = tiny.model(variant), tiny.inputs()
    with dense_oracle(model, kept_masks(model, inputs, policy)):
        tokens, _ = generate(model, inputs)
    expected = tiny.tokenizer().decode(tokens[0], skip_special_tokens=True)
    printed = Collected(tiny.tokenizer(), skip_prompt=True, skip_special_tokens=True)
    pieces = TextIteratorStreamer(tiny.tokenizer(), skip_prompt=True, timeout=60, skip_special_tokens=True)
    with compress(model, policy):
        generate(model, inputs, streamer=printed)
        worker = threading.Thread(target=generate, args=(model, inputs), kwargs={"streamer": pieces})
        worker.start()
        streamed = "".join(pieces)
        worker.join()
    assert printed.text == expected
    assert streamed == expected


def test_a_copied_cache_takes_another_turn(variant):
    """One prompt, two questions: each answer is that of its own conversation."""
    model, inputs = tiny.model(variant), tiny.inputs()
    answers = []
    with compress(model, LIMITED):
        first = model.generate(**inputs, max_new_tokens=3, do_sample=False, return_dict_in_generate=True)
        for more in (torch.tensor([[30, 41, 52, 63]]), torch.tensor([[70, 80]])):
            ids = torch.cat([first.sequences, more], 1)
            alone = model.generate(
                **inputs, max_new_tokens=3, do_sample=False, return_dict_in_generate=True
            ).past_key_values
            for cache in (copy.deepcopy(first.past_key_values), alone):
                answers.append(
                    model.generate(input_ids=ids, past_key_values=cache, max_new_tokens=5, do_sample=False)
                )
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[2], answers[3])


def test_embeddings_as_the_prompt(variant):
    model, inputs = tiny.model(variant), tiny.inputs()
    ids = inputs["input_ids"][:, -40:].clone()
    ids[ids == 4] = 9
    embeds = model.get_input_embeddings()(ids).detach()
    plain = model.generate(inputs_embeds=embeds, max_new_tokens=6, do_sample=False)
    with compress(model, FullKV()) as run:
        assert torch.equal(model.generate(inputs_embeds=embeds, max_new_tokens=6, do_sample=False), plain)
    assert (run.kept == 40).all()


def test_a_text_model_is_compressed_too():
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": None}
    model = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()
    ids = torch.randint(1, 50, (2, 40))
    plain = model.generate(ids, max_new_tokens=6, do_sample=False)
    with compress(model, FullKV()):
        assert torch.equal(model.generate(ids, max_new_tokens=6, do_sample=False), plain)
    with compress(model, LIMITED) as run:
        model.generate(ids, max_new_tokens=6, do_sample=False)
    assert (run.kept == 24).all()
