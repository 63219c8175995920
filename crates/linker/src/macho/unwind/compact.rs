//! `__TEXT,__unwind_info` (`<mach-o/compact_unwind_encoding.h>`): which function is unwound how.

use bytes::Bytes;

/// What is said of the functions of an image, by offsets from its header.
#[derive(Debug, Default)]
pub(super) struct Info {
    /// Slots with the addresses of functions that decide whether a frame catches.
    pub(super) personalities: Vec<u32>,
    /// In the order of their addresses.
    pub(super) functions: Vec<Function>,
}

/// A function, or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Function {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) encoding: u32,
    /// Its language-specific data.
    pub(super) data: Option<u32>,
}

/// Functions of an image: more are in none.
const MOST: usize = 1 << 22;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?).into())
}

/// The word that is number `index` of an array.
fn element(bytes: &[u8], array: usize, index: usize, size: usize) -> Option<u32> {
    word(bytes, array.checked_add(index.checked_mul(size)?)?)
}

impl Info {
    /// None if it is not as it should be: nothing is registered then.
    pub(super) fn read(bytes: &Bytes) -> Option<Self> {
        let field = |index: usize| word(bytes, index * 4).map(|field| field as usize);
        let (version, common, common_count) = (field(0)?, field(1)?, field(2)?);
        let (personalities, personality_count, index, index_count) =
            (field(3)?, field(4)?, field(5)?, field(6)?);
        if version != 1 || personality_count > 3 {
            return None;
        }
        let common: Vec<u32> =
            (0..common_count.min(127)).map(|n| element(bytes, common, n, 4)).collect::<Option<_>>()?;
        let mut info = Self::default();
        for n in 0..personality_count {
            info.personalities.push(element(bytes, personalities, n, 4)?);
        }
        // The last entry says where the last function ends.
        for n in 0..index_count.checked_sub(1)? {
            let entry = index.checked_add(n.checked_mul(12)?)?;
            let (start, page) = (word(bytes, entry)?, word(bytes, entry + 4)? as usize);
            let end = word(bytes, entry.checked_add(12)?)?;
            if page != 0 {
                info.page(bytes, page, start, end, &common)?;
            }
        }
        info.ends(word(bytes, index.checked_add((index_count - 1).checked_mul(12)?)?)?);
        let first = word(bytes, index.checked_add(8)?)? as usize;
        let last = word(bytes, index.checked_add((index_count - 1) * 12 + 8)?)? as usize;
        info.data(bytes, first, last)?;
        Some(info)
    }

    fn push(&mut self, start: u32, encoding: u32) -> Option<()> {
        self.functions.push(Function { start, end: start, encoding, data: None });
        (self.functions.len() < MOST).then_some(())
    }

    fn page(&mut self, bytes: &[u8], page: usize, first: u32, _end: u32, common: &[u32]) -> Option<()> {
        const REGULAR: u32 = 2;
        const COMPRESSED: u32 = 3;
        let (entries, count) = (half(bytes, page.checked_add(4)?)?, half(bytes, page + 6)?);
        let entries = page.checked_add(entries)?;
        match word(bytes, page)? {
            REGULAR => {
                for n in 0..count {
                    let at = entries.checked_add(n * 8)?;
                    self.push(word(bytes, at)?, word(bytes, at.checked_add(4)?)?)?;
                }
            }
            COMPRESSED => {
                let own = page.checked_add(half(bytes, page.checked_add(8)?)?)?;
                let own_count = half(bytes, page + 10)?;
                for n in 0..count {
                    let entry = element(bytes, entries, n, 4)?;
                    let number = (entry >> 24) as usize;
                    let encoding = match common.get(number) {
                        Some(encoding) => *encoding,
                        None => {
                            let number =
                                number.checked_sub(common.len()).filter(|&number| number < own_count)?;
                            element(bytes, own, number, 4)?
                        }
                    };
                    self.push(first.checked_add(entry & 0xff_ffff)?, encoding)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Each function ends where the next one begins.
    fn ends(&mut self, last: u32) {
        self.functions.sort_by_key(|function| function.start);
        let starts: Vec<u32> =
            self.functions.iter().skip(1).map(|function| function.start).chain([last]).collect();
        for (function, end) in self.functions.iter_mut().zip(starts) {
            function.end = end.max(function.start);
        }
    }

    /// Pairs of a function and its data.
    fn data(&mut self, bytes: &[u8], from: usize, to: usize) -> Option<()> {
        for at in (from..to).step_by(8) {
            let (start, data) = (word(bytes, at)?, word(bytes, at.checked_add(4)?)?);
            if let Ok(index) = self.functions.binary_search_by_key(&start, |function| function.start) {
                self.functions[index].data = Some(data);
            }
        }
        Some(())
    }
}
