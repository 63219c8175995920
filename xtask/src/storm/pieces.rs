//! The edits of the storm, and what the server must answer with them: worked out here, not looked at there.

/// A part of the server's source that is edited, and the page that shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// The body of an async handler, behind an await.
    Body,
    /// What an async handler keeps across its awaits: it is versioned, and futures not begun move.
    Local,
    /// A function that a handler calls.
    Helper,
    /// A static under a new name, and the handler that uses it.
    Static,
}

impl Piece {
    /// All, in the order of the edits.
    pub(super) const ALL: [Self; 4] = [Self::Body, Self::Local, Self::Helper, Self::Static];

    /// As answers and the template name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Local => "local",
            Self::Helper => "helper",
            Self::Static => "static",
        }
    }

    /// Where the server shows it.
    pub(super) fn path(self) -> String {
        format!("/{}", self.name())
    }

    /// What stands for it in the template.
    fn text(self, n: u64) -> String {
        let local = |keep: &str, awaits: &str, sum: &str| {
            format!("let {keep};\n    {awaits}\n    format!(\"local {n} {{}}\", {sum})")
        };
        let once = "pause().await;";
        match self {
            Self::Body => format!("pause().await;\n    format!(\"body {n} {{}}\", black_box({n}u64) * 3)"),
            Self::Local => match n % 3 {
                0 => local(&format!("all = [black_box({n}u64); 2]"), once, "all[0] + all[1]"),
                1 => local(
                    &format!("(a, text) = (black_box({n}u64), String::from(\"x\"))"),
                    once,
                    "a * 3 + text.len() as u64",
                ),
                _ => local(
                    &format!("all = vec![black_box({n}u64); 4]"),
                    "pause().await;\n    pause().await;",
                    "all.iter().sum::<u64>()",
                ),
            },
            Self::Helper if n.is_multiple_of(2) => format!("format!(\"helper {n} {{}}\", x * {n})"),
            Self::Helper => format!(
                "let all: Vec<u64> = (0..x).map(|i| i + {n}).collect();\n    \
                 format!(\"helper {n} {{}}\", all.iter().sum::<u64>())"
            ),
            Self::Static => n.to_string(),
        }
    }

    /// The text of an answer of the code of edit `n`; none for those that count.
    fn answer(self, n: u64) -> Option<String> {
        let value = match self {
            Self::Body => 3 * n,
            Self::Local => (n % 3 + 2) * n + u64::from(n % 3 == 1),
            Self::Helper => 3 * n + if n.is_multiple_of(2) { 0 } else { 3 },
            Self::Static => return None,
        };
        Some(format!("{} {n} {value}", self.name()))
    }
}

/// An answer that was taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// The edit whose code made it.
    pub(super) edit: u64,
    /// How often that edit's static was used before, and the server's own.
    pub(super) counts: Option<(u64, u64)>,
}

/// What an answer says, if code of any edit can have made it.
pub(super) fn read(piece: Piece, text: &str) -> Option<Answer> {
    let mut words = text.split(' ');
    let edit = words.by_ref().nth(1)?.parse().ok()?;
    if let Some(expected) = piece.answer(edit) {
        return (text == expected).then_some(Answer { edit, counts: None });
    }
    let counts = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let whole = format!("{} {edit} {} {}", piece.name(), counts.0, counts.1);
    (text == whole).then_some(Answer { edit, counts: Some(counts) })
}

/// The text of `src/code.rs`: for each piece, the edit that it is at.
pub(super) fn source(edits: [u64; Piece::ALL.len()]) -> String {
    let template = include_str!("../../fixtures/storm/code.rs").to_owned();
    Piece::ALL
        .iter()
        .zip(edits)
        .fold(template, |text, (piece, n)| text.replace(&format!("{{{{{}}}}}", piece.name()), &piece.text(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_of_one_edit_as_a_whole() {
        assert_eq!(read(Piece::Body, "body 4 12"), Some(Answer { edit: 4, counts: None }));
        assert_eq!(read(Piece::Body, "body 4 15"), None);
        assert_eq!(read(Piece::Local, "local 7 22").map(|answer| answer.edit), Some(7));
        assert_eq!(read(Piece::Helper, "helper 5 18").map(|answer| answer.edit), Some(5));
        assert_eq!(read(Piece::Static, "static 8 3 900"), Some(Answer { edit: 8, counts: Some((3, 900)) }));
        assert_eq!(read(Piece::Static, "static 8 3"), None);
        assert_eq!(read(Piece::Static, "static 8 3 900 1"), None);
        assert_eq!(read(Piece::Helper, ""), None);
    }

    #[test]
    fn the_source_has_all_pieces() {
        let source = source([1, 2, 3, 4]);
        assert!(!source.contains("{{"), "{source}");
        assert!(source.contains("body 1") && source.contains("HITS_4"));
    }
}
