"""Chat formats of the rule sets, as Jinja templates of a processor.

No template strips a text: its spaces and blank lines reach the model.
"""

from __future__ import annotations

from typing import Any

SYSTEM = "You are a helpful assistant."
_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
# A turn's images on a line of their own, then its texts.
_SAID = (
    "{% macro said(content) %}{% if content is string %}{{ content }}{% else %}"
    "{% for part in content if part['type'] == 'image' %}"
    "{{ '<image>' if loop.first else ' <image>' }}{{ '\\n' if loop.last else '' }}{% endfor %}"
    "{% for part in content if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}{% endmacro %}"
)
# LLaVA's conversation `vicuna_v1`.
VICUNA = (
    _SAID + '{{ "' + _VICUNA_SYSTEM + ' " }}{% for message in messages %}'
    "{% if message['role'] == 'user' %}{{ 'USER: ' + said(message['content']) + ' ' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + said(message['content']) + '</s>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# LLaVA's conversation `mistral_instruct`.
MISTRAL = (
    _SAID + "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + said(message['content']) + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + said(message['content']) + ' </s>' }}"
    "{% endif %}{% endfor %}"
)


def with_one_bos(template: str, tokenizer: Any) -> str:
    """The template for a tokenizer: the prompt's BOS comes from one of the two and not from both."""
    bos = tokenizer.bos_token_id
    if bos is None or bos in tokenizer("a")["input_ids"]:
        return template
    return "{{ bos_token }}" + template


def with_system(template: str | None) -> str | None:
    """A model's own template, given the system sentence where the chat begins without one."""
    if template is None:
        return None
    system = "[{'role': 'system', 'content': '" + SYSTEM + "'}]"
    return (
        "{% if messages[0]['role'] != 'system' %}{% set messages = "
        + system
        + " + messages %}{% endif %}"
        + template
    )
