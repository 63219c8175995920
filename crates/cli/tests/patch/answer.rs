//! Answers with names for what is only known at run time: `counter at $A, value 3`.

use std::collections::BTreeMap;

/// What the names stand for.
#[derive(Default, Debug)]
pub(crate) struct Names(BTreeMap<String, String>);

impl Names {
    /// Whether a text is what is expected. A name that is new stands for what is in its place from now on.
    pub(crate) fn matches(&mut self, expected: &str, text: &str) -> bool {
        let (head, mut rest) = split(expected);
        let Some(mut text) = text.strip_prefix(head) else { return false };
        while let Some((name, literal, more)) = rest {
            let end = if literal.is_empty() { Some(text.len()) } else { text.find(literal) };
            let Some(end) = end else { return false };
            let here = &text[..end];
            if self.0.entry(name.to_owned()).or_insert_with(|| here.to_owned()) != here {
                return false;
            }
            text = &text[end + literal.len()..];
            rest = more.and_then(|more| split(more).1);
        }
        text.is_empty()
    }

    /// What a name stands for.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// An expectation with what its names stand for, for a message.
    pub(crate) fn filled(&self, expected: &str) -> String {
        self.0
            .iter()
            .fold(expected.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
    }
}

/// A name, the text after it up to the next name, and the rest from that name on.
type Named<'a> = (&'a str, &'a str, Option<&'a str>);

/// The text before the first name, and what comes then.
fn split(expected: &str) -> (&str, Option<Named<'_>>) {
    let Some(at) = next_name(expected) else { return (expected, None) };
    let after = &expected[at + 1..];
    let end = after.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit()).unwrap_or(after.len());
    let (name, rest) = after.split_at(end);
    let next = next_name(rest);
    (&expected[..at], Some((name, &rest[..next.unwrap_or(rest.len())], next.map(|next| &rest[next..]))))
}

/// Where the first name starts: a dollar sign before a capital letter.
fn next_name(text: &str) -> Option<usize> {
    text.match_indices('$')
        .map(|(at, _)| at)
        .find(|at| text[at + 1..].starts_with(|c: char| c.is_ascii_uppercase()))
}
