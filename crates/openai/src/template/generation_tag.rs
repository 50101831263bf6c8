//! `{% generation %}` and `{% endgeneration %}`: Hugging Face's marks around what an assistant said.
//!
//! They matter for training alone. A block that is always taken stands in their place, for a tag may trim the white
//! space beside it.

use std::borrow::Cow;

const TAGS: [(&str, &str); 2] = [("generation", "if true"), ("endgeneration", "endif")];

/// The template without these tags.
pub(super) fn remove(source: &str) -> Cow<'_, str> {
    if TAGS.iter().all(|(name, _)| !source.contains(name)) {
        return Cow::Borrowed(source);
    }
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start + 2);
        result += before;
        rest = tag;
        let Some(end) = tag.find("%}") else { break };
        let inside = &tag[..end];
        let name = inside.trim_matches(|c: char| c.is_whitespace() || "-+".contains(c));
        if let Some((name, replacement)) = TAGS.iter().find(|(tag, _)| *tag == name) {
            result += &inside.replacen(name, replacement, 1);
            rest = &tag[end..];
        }
    }
    Cow::Owned(result + rest)
}
