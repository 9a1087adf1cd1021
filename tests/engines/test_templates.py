from __future__ import annotations

import resource
import sys

import pytest

from assistant.engines.prompts import FORMATS, render
from assistant.engines.templates import learn
from assistant.errors import ModelError
from assistant.messages import Exchange

TALK = [Exchange("Hi.", "Hello!"), Exchange("Tell me a story.", "Once there was", cut_off=True)]

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n' + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

CHATML = """{%- for m in messages -%}
{{- '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\n' -}}
{%- if enable_thinking is defined and not enable_thinking -%}{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}
{%- endif -%}"""

NO_SYSTEM = """{{ bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}
{% for m in messages %}
{% set role = 'model' if m.role == 'assistant' else m.role %}
{{ '<start_of_turn>' + role + '\n' + m.content + '<end_of_turn>\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

SYSTEM_IN_LAST_QUESTION = """{% for m in messages if m.role != 'system' %}
{% if m.role == 'user' %}
{{- '[INST] ' }}
{%- if loop.last and messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}
{{- m.content + '[/INST]' }}
{%- else %}
{{- ' ' + m.content + eos_token }}
{%- endif %}
{% endfor %}"""


def test_a_template_is_learned_as_the_format_that_it_makes() -> None:
    learned, known = learn(ZEPHYR, "<s>", "</s>"), FORMATS["zephyr"]
    assert set(learned.stop) <= set(known.stop)
    assert render(learned, "Be kind.", TALK, "Go on.").text == render(known, "Be kind.", TALK, "Go on.").text
    assert learned.add_bos


def test_what_only_the_newest_answer_begins_with_is_not_in_the_history() -> None:
    text = render(learn(CHATML, "", "<|im_end|>"), "Be kind.", TALK[:1], "Go on.").text
    assert text == render(FORMATS["chatml"], "Be kind.", TALK[:1], "Go on.").text + "<think>\n\n</think>\n\n"


def test_a_template_without_a_system_prompt_has_it_in_the_first_question() -> None:
    form = learn(NO_SYSTEM, "<bos>", "<eos>")
    assert render(form, "Be kind.", TALK[:1], "Go on.").text == (
        "<bos><start_of_turn>user\nBe kind.\n\nHi.<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
        "<start_of_turn>user\nGo on.<end_of_turn>\n<start_of_turn>model\n"
    )
    assert not form.add_bos  # it is in the text
    assert {"<end_of_turn>", "<start_of_turn>"} <= set(form.stop)


def test_a_system_prompt_that_would_move_with_every_turn_stays_in_the_first_question() -> None:
    form = learn(SYSTEM_IN_LAST_QUESTION, "<s>", "</s>")
    assert render(form, "Be kind.", TALK[:1], "Go on.").text == (
        "[INST] Be kind.\n\nHi.[/INST] Hello!</s>[INST] Go on.[/INST]"
    )


def test_marks_that_are_only_for_training_are_passed_over() -> None:
    marked = ZEPHYR.replace("{% for", "{%- generation %}{% for") + "{% endgeneration -%}"
    assert learn(marked, "<s>", "</s>") == learn(ZEPHYR, "<s>", "</s>")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "{{ messages",
        "{% if %}",
        "{{ nothing.of.this }}",
        "always the same",
        "{{ raise_exception('not with me') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(1000) %}xxxxxxxxxxxxxx{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ 'a' * 10000000000 }}",
        "{{ 'a' | center(100000000000) }}",
        "{{ '%100000000000d' % 1 }}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{{ lipsum(n=100000000) }}",
        "{{ 1 // 0 }}",
        "{# long #}" * 20_000,
    ],
    ids=range(20),
)
def test_a_template_that_fails_or_never_ends_is_refused(source: str) -> None:
    limits, tracer = resource.getrlimit(resource.RLIMIT_AS), sys.gettrace()
    with pytest.raises(ModelError, match=r"chat template .* set llm\.template"):
        learn(source, "<s>", "</s>")
    assert (resource.getrlimit(resource.RLIMIT_AS), sys.gettrace()) == (limits, tracer)
