//! What templates may do, and what they may not.

use std::time::{Duration, Instant};

use super::*;

/// 24 November 2026.
const NOW: u64 = 1_795_539_600;

/// The template in SmolLM2's model file.
const SMOLLM2: &str = include_str!("../../tests/data/smollm2.jinja");

fn model(template: &str) -> ModelInfo {
    ModelInfo {
        id: "m".to_owned(),
        context_len: 2048,
        chat_template: Some(template.to_owned()),
        bos_token: Some("<s>".to_owned()),
        eos_token: Some("</s>".to_owned()),
        ..ModelInfo::default()
    }
}

fn rendered(template: &str) -> Result<String, TemplateError> {
    render(&model(template), &[Message::new("user", "Hi!")], NOW)
}

#[test]
fn smollm2_gets_its_own_system_message_unless_one_is_given() {
    let system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n";
    let user = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n";
    let ask = Message::new("user", "What is 2+2?");
    assert_eq!(
        render(&model(SMOLLM2), &[ask], NOW).unwrap(),
        format!("{system}{user}")
    );
    let messages = [
        Message::new("system", "Be brief."),
        Message::new("user", "What is 2+2?"),
    ];
    let own = "<|im_start|>system\nBe brief.<|im_end|>\n";
    assert_eq!(
        render(&model(SMOLLM2), &messages, NOW).unwrap(),
        format!("{own}{user}")
    );
}

#[test]
fn a_model_without_a_template_gets_chatml() {
    let model = ModelInfo {
        chat_template: None,
        context_len: 1,
        ..ModelInfo::default()
    };
    let messages = [Message::new("user", "a"), Message::new("assistant", "b")];
    let expected = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(render(&model, &messages, NOW).unwrap(), expected);
}

#[test]
fn templates_are_jinja_as_hugging_face_runs_it() {
    let cases = [
        (
            "{{ bos_token }}{{ messages[0]['content'].strip('!').upper() }}{{ eos_token }}",
            "<s>HI</s>",
        ),
        ("{% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb"),
        (
            "{{ tools is none }} {{ documents }} {{ add_generation_prompt }} {{ missing }}",
            "True None True ",
        ),
        (
            "{{ missing is defined }}{{ messages[0].tool_calls is defined }}",
            "FalseFalse",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "1",
        ),
        (
            "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "02",
        ),
        (
            "{% for m in messages[::-1] %}{{ loop.previtem is undefined }}{% endfor %}",
            "True",
        ),
        (
            "{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(messages|length) }}",
            "[1]",
        ),
        (
            "{{ {'a': [1, 'b\u{e9}<&>', none, true], 'c': {}} | tojson }}",
            "{\"a\": [1, \"b\u{e9}<&>\", null, true], \"c\": {}}",
        ),
        (
            "{{ {'a': [1]} | tojson(indent=2) }}",
            "{\n  \"a\": [\n    1\n  ]\n}",
        ),
        ("{{ 'a<b>&' }}{{ 'x' if false }}", "a<b>&"),
        ("{{ strftime_now('%d %b %Y') }}", "24 Nov 2026"),
        (
            "{{ messages[0].content.split('i')[1] + 'a,b'.replace(',', '') }}",
            "!ab",
        ),
        (
            "{{ 'Hi' in messages[0].content and messages[0].content.startswith('H') }}",
            "True",
        ),
        (
            "{{ messages[0].items() | list | length }}{{ messages[0].get('name') }}",
            "2None",
        ),
    ];
    for (template, expected) in cases {
        assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn raise_exception_is_told_in_the_templates_words() {
    let plain = "{{ raise_exception('roles must alternate') }}";
    let in_macro =
        "{% macro f() %}{{ raise_exception('roles must alternate') }}{% endmacro %}{{ f() }}";
    for template in [plain, in_macro] {
        assert_eq!(
            rendered(template),
            Err(TemplateError::Raised("roles must alternate".to_owned()))
        );
    }
}

#[test]
fn hostile_templates_end_within_a_second_and_say_what_ran_out() {
    let output_max = prompt_bytes_max(2048);
    let fuel = || Err(TemplateError::Fuel);
    let nested_ifs = "{% if 1 %}".repeat(45_000) + &"{% endif %}".repeat(45_000);
    let brackets = format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000));
    let exact: Vec<(&str, Result<String, TemplateError>)> = vec![
        (
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            fuel(),
        ),
        (
            "{% for i in range(1000) %}{% set x = 'A' * 100000000 %}{% endfor %}",
            fuel(),
        ),
        (
            "{% set ns = namespace(x='a') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            fuel(),
        ),
        (
            "{% set ns = namespace(x='a') %}{% for i in range(64) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
            fuel(),
        ),
        (
            "{% set ns = namespace(x=['a']) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
            fuel(),
        ),
        (
            "{% for i in range(100000) %}{{ 'A' * 100000 }}{% endfor %}",
            Err(TemplateError::Output(output_max)),
        ),
    ];
    let some_error = [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set ns = namespace(x=['a']) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{{ range(1000000000)|list|length }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        nested_ifs.as_str(),
        brackets.as_str(),
        "{{ ",
        "{% include 'x' %}",
        "{{ 'a' | nofilter }}",
        "{{ nofunction() }}",
        "{{ messages.foo.bar }}",
    ];
    let timed = |template: &str| {
        let start = Instant::now();
        let result = rendered(template);
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{:?} for {template:.100}",
            start.elapsed()
        );
        result
    };
    for (template, expected) in exact {
        assert_eq!(timed(template), expected, "{template:.100}");
    }
    for template in some_error {
        assert!(timed(template).is_err(), "{template:.100}");
    }
    let source = "a".repeat(SOURCE_BYTES_MAX + 1);
    assert_eq!(
        timed(&source),
        Err(TemplateError::Source(SOURCE_BYTES_MAX + 1))
    );
}
