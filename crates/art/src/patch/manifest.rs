//! Manifests of JARs (JAR file specification, "JAR manifest"): sections of headers, in lines of at most 72 bytes.

use thiserror::Error;

/// Longer ones are nobody's.
const LONGEST: usize = 4 << 20;
/// Without the end of the line.
const LINE: usize = 70;

/// Why a manifest is none.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ManifestError {
    /// A line is none.
    #[error("line {0} is neither a header nor what belongs to one")]
    Line(usize),
    /// A header is there twice in one section.
    #[error("line {line}: the header {name} is there twice")]
    Twice {
        /// The line.
        line: usize,
        /// The header.
        name: String,
    },
    /// It is longer than any is.
    #[error("it is longer than 4 MiB")]
    TooLong,
    /// A header is missing.
    #[error("there is no header {0}")]
    Missing(&'static str),
    /// A time that is none.
    #[error("`{0}` is no time")]
    Time(String),
    /// A value that cannot be written.
    #[error("the value of {0} has a line's end or a NUL in it")]
    Value(String),
}

/// A section: headers in their order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Section {
    headers: Vec<(String, String)>,
}

impl Section {
    /// A header's value. Case does not count in names.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All headers.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds a header.
    pub fn push(&mut self, name: &str, value: String) {
        self.headers.push((name.to_owned(), value));
    }

    /// As it is written, with the empty line that ends it.
    pub(super) fn write(&self) -> Result<Vec<u8>, ManifestError> {
        let mut out = Vec::new();
        for (name, value) in &self.headers {
            if value.contains(['\r', '\n', '\0']) || name.len() > LINE - 2 {
                return Err(ManifestError::Value(name.clone()));
            }
            let line = format!("{name}: {value}");
            let mut rest = line.as_bytes();
            let mut room = LINE;
            while !rest.is_empty() {
                let (first, after) = rest.split_at(room.min(rest.len()));
                out.extend_from_slice(first);
                out.extend(b"\r\n");
                rest = after;
                if !rest.is_empty() {
                    out.push(b' ');
                    room = LINE - 1;
                }
            }
        }
        out.extend(b"\r\n");
        Ok(out)
    }
}

/// A manifest.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Manifest {
    /// What it says about the whole.
    pub main: Section,
    /// What it says about entries; each section has their `Name`.
    pub entries: Vec<Section>,
}

impl Manifest {
    /// Reads one: lines end with CR LF, LF or CR.
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > LONGEST {
            return Err(ManifestError::TooLong);
        }
        let mut sections: Vec<Section> = Vec::new();
        let mut open: Option<Vec<(String, Vec<u8>)>> = None;
        for (index, line) in lines(bytes).enumerate() {
            let bad = ManifestError::Line(index + 1);
            if line.is_empty() {
                sections.extend(open.take().map(|headers| text(headers, index)).transpose()?);
                continue;
            }
            let headers = open.get_or_insert_default();
            if let Some(rest) = line.strip_prefix(b" ") {
                headers.last_mut().ok_or(bad)?.1.extend_from_slice(rest);
                continue;
            }
            let colon = line.windows(2).position(|pair| pair == b": ").ok_or(bad.clone())?;
            let name = std::str::from_utf8(&line[..colon]).map_err(|_| bad.clone())?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || name.len() > LINE || !name.bytes().all(is_name) {
                return Err(bad);
            }
            if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(ManifestError::Twice { line: index + 1, name: name.to_owned() });
            }
            headers.push((name.to_owned(), line[colon + 2..].to_vec()));
        }
        sections.extend(open.take().map(|headers| text(headers, 0)).transpose()?);
        let mut sections = sections.into_iter();
        Ok(Self { main: sections.next().unwrap_or_default(), entries: sections.collect() })
    }

    /// Writes one.
    pub fn write(&self) -> Result<Vec<u8>, ManifestError> {
        let sections = std::iter::once(&self.main).chain(&self.entries).map(Section::write);
        Ok(sections.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// Values as text; they may be divided within a character.
fn text(headers: Vec<(String, Vec<u8>)>, line: usize) -> Result<Section, ManifestError> {
    let one = |(name, value)| {
        let value = String::from_utf8(value).map_err(|_| ManifestError::Line(line))?;
        Ok((name, value))
    };
    Ok(Section { headers: headers.into_iter().map(one).collect::<Result<_, _>>()? })
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = &rest[end..];
        rest = rest.strip_prefix(b"\r\n").or(rest.get(1..)).unwrap_or_default();
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_divided() -> Result<(), ManifestError> {
        let mut main = Section::default();
        main.push("Patch-Classes", "ä".repeat(200));
        main.push("Empty", String::new());
        let manifest = Manifest { main, entries: vec![] };
        let bytes = manifest.write()?;
        assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() < 73));
        assert_eq!(Manifest::read(&bytes)?, manifest);
        Ok(())
    }

    #[test]
    fn what_is_none() {
        for bad in ["x", " x: y", "a b: c", "A: 1\nA: 2", "A: 1\na: 2", ": x", "A: \u{0}\n\n x: y"] {
            assert!(Manifest::read(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Manifest::read(b"A: \xff").is_err());
        for good in ["", "A: 1", "A: 1\r\rName: x\r", "A: 1\n\n\nName: x\nB: 2\n\n"] {
            assert!(Manifest::read(good.as_bytes()).is_ok(), "{good:?}");
        }
    }
}
