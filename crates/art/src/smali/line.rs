//! What lines are made of.

use super::Said;
use crate::dex::{FieldRef, MethodRef, Prototype, Text};
use std::sync::Arc;

/// A line without its comment.
pub(super) fn without_comment(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            '#' if !quoted => return line[..at].trim(),
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    line.trim()
}

/// A number: decimal or hexadecimal, with a sign, with the letter of its type.
pub(super) fn number(text: &str) -> Said<i64> {
    let bad = || format!("`{text}` is no number");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (radix, digits) = match digits.strip_prefix("0x") {
        Some(rest) => (16, rest.trim_end_matches(['L', 't', 's'])),
        None => (10, digits.trim_end_matches(['L', 't', 's'])),
    };
    let value = i128::from_str_radix(digits, radix).map_err(|_| bad())?;
    let value = if negative { -value } else { value };
    // 0x8000_0000_0000_0000 and more are written without a sign, too.
    let in_range = (i64::MIN.into()..=u64::MAX.into()).contains(&value);
    if in_range { Ok(value as i64) } else { Err(bad()) }
}

/// A number that has to fit into so many bits, with a sign or without.
pub(super) fn fitting(text: &str, bits: u32) -> Said<i64> {
    let value = number(text)?;
    let fits = bits == 64 || (-(1_i64 << (bits - 1))..1_i64 << bits).contains(&value);
    if fits { Ok(value) } else { Err(format!("`{text}` does not fit into {bits} bits")) }
}

/// A quoted string, and what follows it.
pub(super) fn quoted(text: &str) -> Said<(Text, &str)> {
    let inside = text.strip_prefix('"').ok_or_else(|| format!("`{text}` is no string"))?;
    let (mut value, mut rest) = (String::new(), inside.char_indices());
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => return Ok((value.as_str().into(), inside[at + 1..].trim_start())),
            '\\' => match rest.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\' | '\'')) => value.push(c),
                _ => return Err("an escape that is not known".to_owned()),
            },
            c => value.push(c),
        }
    }
    Err("a string that does not end".to_owned())
}

/// `Lclass;->name(I)V`
pub(super) fn method(text: &str) -> Said<MethodRef> {
    let bad = || format!("`{text}` is no method");
    let (class, member) = text.split_once("->").ok_or_else(bad)?;
    let (name, prototype) = name_and_prototype(member)?;
    Ok(MethodRef { class: class.into(), name, prototype })
}

/// `name(I)V`
pub(super) fn name_and_prototype(text: &str) -> Said<(Text, Arc<Prototype>)> {
    let bad = || format!("`{text}` is no method");
    let at = text.find('(').ok_or_else(bad)?;
    let prototype = Prototype::parse(&text[at..]).ok_or_else(bad)?;
    Ok((text[..at].into(), Arc::new(prototype)))
}

/// `Lclass;->name:I`
pub(super) fn field(text: &str) -> Said<FieldRef> {
    let bad = || format!("`{text}` is no field");
    let (class, member) = text.split_once("->").ok_or_else(bad)?;
    let (name, kind) = member.split_once(':').ok_or_else(bad)?;
    Ok(FieldRef { class: class.into(), name: name.into(), kind: kind.into() })
}
