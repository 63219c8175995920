//! How rustc names things in debug information.

/// `{closure#3}<T>` or `{async_fn_env#0}`: a closure or coroutine, or its environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Numbered<'n> {
    /// `closure`, `async_fn_env`, …
    kind: &'n [u8],
    /// Its place among those of the same function, in source order.
    pub(super) index: u32,
    /// `#3}<T>`
    rest: &'n [u8],
}

/// Reads the name of a closure or coroutine, or of an environment.
pub(super) fn numbered(name: &[u8]) -> Option<Numbered<'_>> {
    let (&b'{', inner) = name.split_first()? else { return None };
    let hash = inner.iter().position(|&byte| byte == b'#')?;
    let (kind, rest) = inner.split_at(hash);
    let end = rest.iter().position(|&byte| byte == b'}')?;
    let index = std::str::from_utf8(&rest[1..end]).ok()?.parse().ok()?;
    // What else is numbered: implementations, constants, `extern` blocks, opaque types.
    let base = kind.strip_suffix(b"_env").unwrap_or(kind);
    let known = base == b"closure" || base == b"coroutine" || COROUTINES.iter().any(|c| base.starts_with(c));
    known.then_some(Numbered { kind, index, rest })
}

const COROUTINES: [&[u8]; 2] = [b"async_", b"gen_"];

impl Numbered<'_> {
    /// The name of the environment of the closure or coroutine with this name; none if it is one.
    pub(super) fn environment(&self) -> Option<Vec<u8>> {
        (!self.kind.ends_with(b"_env")).then(|| [b"{", self.kind, b"_env", self.rest].concat())
    }
}

/// `closure` for `{closure_env#0}<T>`; none when it is not the name of an environment.
pub(super) fn environment_kind(name: &[u8]) -> Option<&[u8]> {
    if name.first() != Some(&b'{') {
        return None;
    }
    numbered(name)?.kind.strip_suffix(b"_env")
}

/// Whether a type with this name is what a closure or coroutine keeps.
pub(super) fn is_environment(name: &[u8]) -> bool {
    environment_kind(name).is_some()
}

/// A function's name without its generic arguments.
pub(super) fn without_arguments(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|&byte| byte == b'<').unwrap_or(name.len());
    &name[..end]
}

/// The parts of a qualified name: `a::Of<b::C>` is `a` and `Of<b::C>`.
pub(super) fn segments(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let text = rest?;
        match separator(text) {
            Some(at) => {
                rest = Some(&text[at + 2..]);
                Some(&text[..at])
            }
            None => rest.take(),
        }
    })
}

/// Where the first `::` outside all brackets is.
fn separator(text: &[u8]) -> Option<usize> {
    let (mut depth, mut last) = (0usize, 0);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if last == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 0 && text.get(at + 1) == Some(&b':') => return Some(at),
            _ => {}
        }
        last = byte;
    }
    None
}
