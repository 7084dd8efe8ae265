"""The embedded models' tokenizer: one token per character, and one per word of the fixed instructions.

With whole-word tokens for the instructions, over 90 % of a prompt are image tokens. The text of a page (upper-case
letters and digits) is tokenized character by character.
"""

from __future__ import annotations

import re
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
INSTRUCTIONS = ["USER:", " ASSISTANT:", "Provide", "What", " is", " the", " value", " of", " bar"]
INSTRUCTIONS += [" all", " results", " this", " image"]
CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n"]
CHAT_TEMPLATE = (
    "{{ '<s>' }}{% for message in messages %}{{ 'USER: ' if message['role'] == 'user' else ' ASSISTANT:' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}"
    "{{ '</s>' if message['role'] == 'assistant' else '' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The fast tokenizer, with left padding; unknown characters become `<unk>`."""
    vocabulary = {token: index for index, token in enumerate(SPECIAL + INSTRUCTIONS + CHARACTERS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    longest_first = sorted(INSTRUCTIONS, key=len, reverse=True)
    words = "|".join(re.escape(word).replace("\\ ", " ") + r"(?![a-z])" for word in longest_first)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(words + r"|[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    make: Any = PreTrainedTokenizerFast  # its constructor is untyped
    tokenizer: PreTrainedTokenizerFast = make(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    return tokenizer


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """The id of one token."""
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int)
    return found
