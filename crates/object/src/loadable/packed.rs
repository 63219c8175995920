//! Relocation tables in compressed forms: `DT_RELR` (generic ABI, "Relative Relocation Table") and Android's
//! packed relocations ("APS2").

use super::fields::word_at;
use super::machine::Class;
use super::problem::Problem;
use super::relocation::Entry;
use crate::address::LinkAddress;

/// The places that a `DT_RELR` table names, each the address of a word to which the slide is added.
pub fn relr(table: &[u8], class: Class) -> impl Iterator<Item = LinkAddress> + '_ {
    let word = class.word() as u64;
    let bits = word * 8 - 1;
    let mut next = 0u64;
    table.chunks_exact(class.word()).filter_map(move |entry| word_at(entry, 0, class)).flat_map(
        move |entry| {
            let (base, bitmap) = if entry & 1 == 0 {
                next = entry.wrapping_add(word);
                (entry, 1)
            } else {
                let base = next;
                next = next.wrapping_add(bits * word);
                (base, entry >> 1)
            };
            let mask = move |index: &u64| (bitmap >> index) & 1 != 0;
            (0..bits).filter(mask).map(move |index| LinkAddress(base.wrapping_add(index * word)))
        },
    )
}

const BY_INFO: u64 = 1;
const BY_OFFSET_DELTA: u64 = 2;
const BY_ADDEND: u64 = 4;
const HAS_ADDEND: u64 = 8;

/// The entries of Android's packed table: whole groups that share what their flags say, deltas in SLEB128.
///
/// What a group shares costs no bytes, so a few bytes can stand for any number of entries: more than `most` are
/// refused.
pub fn android(table: &[u8], class: Class, most: u64, mut each: impl FnMut(Entry)) -> Result<(), Problem> {
    let body = table.strip_prefix(b"APS2").ok_or(Problem::BadPackedRelocations("bad header"))?;
    let mut numbers = Numbers { bytes: body };
    let total = numbers.next()? as u64;
    if total > most {
        return Err(Problem::BadPackedRelocations("there are more than words"));
    }
    let mut offset = numbers.next()? as u64;
    let (mut info, mut addend) = (0u64, 0i64);
    let mut done = 0u64;
    while done < total {
        let size = numbers.next()? as u64;
        let flags = numbers.next()? as u64;
        if size == 0 || size > total - done {
            return Err(Problem::BadPackedRelocations("a group is larger than the rest"));
        }
        let delta = (flags & BY_OFFSET_DELTA != 0).then(|| numbers.next()).transpose()?;
        if flags & BY_INFO != 0 {
            info = numbers.next()? as u64;
        }
        if flags & HAS_ADDEND == 0 {
            addend = 0;
        } else if flags & BY_ADDEND != 0 {
            addend = addend.wrapping_add(numbers.next()?);
        }
        for _ in 0..size {
            let step = delta.map_or_else(|| numbers.next(), Ok)?;
            offset = offset.wrapping_add(step as u64);
            if flags & BY_INFO == 0 {
                info = numbers.next()? as u64;
            }
            if flags & HAS_ADDEND != 0 && flags & BY_ADDEND == 0 {
                addend = addend.wrapping_add(numbers.next()?);
            }
            each(Entry::from_info(offset, info, addend, class));
        }
        done += size;
    }
    Ok(())
}

struct Numbers<'a> {
    bytes: &'a [u8],
}

impl Numbers<'_> {
    /// A SLEB128; what does not fit 64 bits is cut off, as Android's decoder does.
    fn next(&mut self) -> Result<i64, Problem> {
        let (mut value, mut shift) = (0u64, 0u32);
        loop {
            let (&byte, rest) =
                self.bytes.split_first().ok_or(Problem::BadPackedRelocations("they end early"))?;
            self.bytes = rest;
            if shift < 64 {
                value |= u64::from(byte & 0x7f) << shift;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                if shift < 64 && byte & 0x40 != 0 {
                    value |= u64::MAX << shift;
                }
                return Ok(value as i64);
            }
            if shift > 70 {
                return Err(Problem::BadPackedRelocations("a number is too long"));
            }
        }
    }
}
