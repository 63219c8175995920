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

/// The path of the trait in the name of a vtable, without generic arguments: `c::D` of
/// `<a::B as c::D<e::F>>::{vtable}`. None where there is no trait: `<a::B as _>::{vtable}`.
pub(super) fn trait_of(vtable: &[u8]) -> Option<&[u8]> {
    let inner = vtable.strip_prefix(b"<")?;
    let (mut depth, mut last) = (0usize, 0);
    let as_at = inner.iter().enumerate().find_map(|(at, &byte)| {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if last == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b' ' if depth == 0 && inner[at..].starts_with(b" as ") => return Some(at),
            _ => {}
        }
        last = byte;
        None
    })?;
    let name = &inner[as_at + b" as ".len()..];
    let end = name.iter().position(|byte| matches!(byte, b'<' | b'>'))?;
    Some(&name[..end]).filter(|name| *name != b"_")
}

/// Whether it is plain that a name, as entries have it, is one part: an identifier, perhaps with generic
/// arguments, or a pointer, tuple or slice.
pub(super) fn is_one_segment(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'{' | b'#' | b'}');
    match name.iter().position(|byte| !is_plain(byte)) {
        Some(0) => is_compound(name),
        Some(end) => name[end] == b'<',
        None => true,
    }
}

/// Whether the paths in a name are all those of other types. Nothing is declared in such a type.
fn is_compound(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'&' | b'*' | b'(' | b'['))
}

/// Where the first `::` outside all brackets is.
fn separator(text: &[u8]) -> Option<usize> {
    let (mut depth, mut last) = (0usize, 0);
    if is_compound(text) {
        return None;
    }
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

/// A qualified name as it is read best: every path within it loses its front, and collections their
/// default allocator. `alloc::vec::Vec<app::Point, alloc::alloc::Global>` is `Vec<Point>`. Variants and
/// environments keep what they belong to: `Kind::Round`, `act::{closure_env#0}`.
pub(super) fn shorten(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let length = path_length(rest);
        if length > 0 {
            out.push_str(tail(&rest[..length]));
            rest = &rest[length..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out.replace(", Global>", ">")
}

/// How many bytes of a text are a path without generic arguments.
fn path_length(text: &str) -> usize {
    let mut braces = 0usize;
    let mut bytes = text.bytes().enumerate();
    let end = bytes.find(|&(at, byte)| {
        match byte {
            b'{' => braces += 1,
            b'}' if braces > 0 => braces -= 1,
            b':' => {
                return braces == 0
                    && (at == 0 || !text[..at].ends_with(':') && !text[at..].starts_with("::"));
            }
            _ => return braces == 0 && byte.is_ascii() && !byte.is_ascii_alphanumeric() && byte != b'_',
        }
        false
    });
    end.map_or(text.len(), |(at, _)| at)
}

/// The last name of a path, with what it belongs to when that is a type, a function or a closure.
fn tail(path: &str) -> &str {
    let mut start = path.len();
    let mut below: Option<&str> = None;
    for name in path.rsplit("::") {
        let keep = match below {
            None => true,
            Some(below) if below.starts_with('{') => true,
            Some(_) => name.starts_with(char::is_uppercase) || name.contains("_env#"),
        };
        if !keep {
            break;
        }
        // Two colons stand between the two.
        start = start.saturating_sub(name.len() + if below.is_some() { 2 } else { 0 });
        below = Some(name);
    }
    &path[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_still_tell_apart() {
        for (name, short) in [
            ("u8", "u8"),
            ("app::State", "State"),
            ("app::Kind::Round", "Kind::Round"),
            ("alloc::vec::Vec<app::Point, alloc::alloc::Global>", "Vec<Point>"),
            (
                "core::option::Option<&mut app::a::Of<u8>>::Some<&mut app::a::Of<u8>>",
                "Option<&mut Of<u8>>::Some<&mut Of<u8>>",
            ),
            ("&dyn core::ops::function::Fn<(u8, app::X), Output=app::Y>", "&dyn Fn<(u8, X), Output=Y>"),
            ("app::act::{closure_env#0}", "act::{closure_env#0}"),
            ("app::act::{closure#1}::{closure_env#0}<app::X>", "act::{closure#1}::{closure_env#0}<X>"),
            ("app::{impl#3}::run::{async_fn_env#0}::Suspend0", "run::{async_fn_env#0}::Suspend0"),
            ("fn(app::X, [app::Y; 3]) -> app::Z", "fn(X, [Y; 3]) -> Z"),
            ("app::größe::Öl", "Öl"),
            ("::", "::"),
            ("", ""),
        ] {
            assert_eq!(shorten(name), short);
        }
    }

    #[test]
    fn qualified_names_fall_into_parts() {
        let parts = |name: &'static str| -> Vec<_> {
            segments(name.as_bytes()).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
        };
        assert_eq!(parts("a::Of<b::C>::D"), ["a", "Of<b::C>", "D"]);
        assert_eq!(
            parts("<a::B as c::D<fn() -> e::F>>::{vtable}"),
            ["<a::B as c::D<fn() -> e::F>>", "{vtable}"]
        );
        assert_eq!(parts("(a::B, c::D)"), ["(a::B, c::D)"]);
    }

    #[test]
    fn vtables_are_for_a_trait() {
        for (name, of) in [
            ("<a::B as c::D>::{vtable}", Some("c::D")),
            ("<a::B<fn() -> e::F> as c::D<g::H, I=j::K>>::{vtable}", Some("c::D")),
            ("<<a::B as c::D>::E as f::G>::{vtable}", Some("f::G")),
            ("<(a::B, &dyn c::D) as e::f::G>::{vtable}", Some("e::f::G")),
            ("<a::B as _>::{vtable}", None),
            ("<a::B>::{vtable}", None),
            ("{vtable}", None),
            ("<a as ", None),
        ] {
            assert_eq!(trait_of(name.as_bytes()), of.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn what_is_plainly_one_part_is_one_part() {
        for name in
            ["u8", "Of<b::C>", "{closure_env#0}<a::B>", "Option<&dyn a::B>", "&a::B", "*mut a::B", "(a::B,)"]
        {
            assert!(is_one_segment(name.as_bytes()), "{name}");
            assert_eq!(segments(name.as_bytes()).count(), 1, "{name}");
        }
        for name in ["a::B", "dyn a::B", "fn() -> a::B", "<a::B as c::D>::{vtable}"] {
            assert!(!is_one_segment(name.as_bytes()), "{name}");
            assert_eq!(segments(name.as_bytes()).count(), 2, "{name}");
        }
    }

    #[test]
    fn closures_and_their_environments_are_known_by_their_names() {
        let body = numbered(b"{closure#12}<u8>").map(|it| (it.index, it.environment()));
        assert_eq!(body, Some((12, Some(b"{closure_env#12}<u8>".to_vec()))));
        let environment = numbered(b"{async_fn_env#0}").map(|it| (it.index, it.environment()));
        assert_eq!(environment, Some((0, None)));
        for other in
            [&b"{impl#0}"[..], b"{constant#0}", b"{vtable}", b"closure#0", b"{closure#}", b"{#", b"{"]
        {
            assert_eq!(numbered(other), None);
        }
    }
}
