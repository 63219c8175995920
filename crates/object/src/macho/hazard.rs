//! Names that link on Linux and mean something else there than on Darwin.
//!
//! Both systems have `sysconf`; its numbers differ. A loader that passes such an import on to the C library of this
//! system gets a program that runs and is wrong. The table says of which names that is so and what differs; who
//! loads images has a function of its own for each that it can help with.

mod table;

pub use table::HAZARDS;

/// What differs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HazardKind {
    /// A structure that is passed has other members, or another size.
    Layout,
    /// Numbers that are passed or returned mean something else.
    Constants,
    /// Objects that are initialised without a call begin with other bytes.
    Statics,
    /// It takes other arguments, or in another order.
    Arguments,
    /// It does something else.
    Meaning,
}

impl HazardKind {
    /// Its name for people and tools.
    pub fn name(self) -> &'static str {
        match self {
            Self::Layout => "layout",
            Self::Constants => "constants",
            Self::Statics => "statics",
            Self::Arguments => "arguments",
            Self::Meaning => "meaning",
        }
    }
}

/// A name that means something else here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hazard {
    /// Its plain name, as C has it.
    pub symbol: &'static str,
    /// What differs.
    pub kind: HazardKind,
    /// How, for people: Darwin's first.
    pub difference: &'static str,
}

/// The hazard of an import, which is named as images name it: `_fstat$INODE64`.
pub fn hazard(symbol: &[u8]) -> Option<&'static Hazard> {
    let name = std::str::from_utf8(plain_name(symbol)?).ok()?;
    HAZARDS.binary_search_by(|hazard| hazard.symbol.cmp(name)).ok().map(|index| &HAZARDS[index])
}

/// What C calls an import, and a C library of another system: without the underscore and without what comes behind a
/// `$`, which says which of several versions is meant. None if C could not call it anything.
pub fn plain_name(symbol: &[u8]) -> Option<&[u8]> {
    let name = symbol.strip_prefix(b"_")?;
    let end = memchr::memchr(b'$', name).unwrap_or(name.len());
    Some(&name[..end]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_no_name_twice() {
        let pairs = HAZARDS.windows(2);
        let wrong: Vec<_> = pairs.filter(|pair| pair[0].symbol >= pair[1].symbol).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn versions_are_not_part_of_a_name() {
        assert_eq!(hazard(b"_fstat$INODE64").map(|hazard| hazard.symbol), Some("fstat"));
        assert_eq!(hazard(b"_sysconf").map(|hazard| hazard.kind), Some(HazardKind::Constants));
        assert_eq!(hazard(b"_strlen"), None);
        assert_eq!(hazard(b"dyld_stub_binder"), None);
        assert_eq!(plain_name(b"_$x"), None);
    }
}
