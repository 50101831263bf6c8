//! `docs/api.md` names what the crate takes. Its table of errors is checked beside the table itself.

use spindle_openai::endpoint;

use crate::numbers::FIELDS;

const DOCS: &str = include_str!("../../../../docs/api.md");

fn row(name: &str) -> &'static str {
    let start = format!("| `{name}` |");
    DOCS.lines()
        .find(|line| line.starts_with(&start))
        .unwrap_or_else(|| panic!("no row of {name} in docs/api.md"))
}

#[test]
fn every_number_has_its_range_in_the_documentation() {
    // Those of a width or a length have it in words.
    let in_words = ["seed", "max_tokens", "max_completion_tokens", "min_tokens"];
    for (name, min, max, ..) in FIELDS {
        let row = row(name);
        assert!(
            in_words.contains(name) || row.contains(&format!("{min} to {max}")),
            "{row}"
        );
    }
}

#[test]
fn every_other_field_has_a_row_in_the_documentation() {
    for name in [
        "stream",
        "stream_options",
        "stop",
        "user",
        "metadata",
        "ignore_eos",
        "return_token_ids",
        "messages",
        "logprobs",
        "prompt",
        "echo",
        "best_of",
        "suffix",
    ] {
        row(name);
    }
}

#[test]
fn every_route_is_in_the_documentation() {
    for route in endpoint::ROUTES {
        row(&format!("{} {}", route.method, route.pattern));
    }
}
