//! Hash tables over symbol names: `DT_GNU_HASH` with its bloom filter, and `DT_HASH` (generic ABI).

use super::fields::{u32_at, u64_at};
use super::image::Image;
use super::machine::Class;
use super::problem::Problem;
use crate::address::LinkAddress;
use bytes::Bytes;

/// A name with its hashes, which are computed once however many tables are asked.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// The bytes, without a NUL.
    pub bytes: &'a [u8],
    /// Its hash in [`GnuHash`].
    pub gnu: u32,
}

impl<'a> Name<'a> {
    /// Of bytes without a NUL.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, gnu: gnu_hash(bytes) }
    }
}

/// The hash function of `DT_GNU_HASH`: `hash * 33 + byte` for each byte. Four are taken in one step, so that they do not
/// wait for each other.
#[inline]
pub fn gnu_hash(name: &[u8]) -> u32 {
    let (fours, rest) = name.as_chunks::<4>();
    let hash = fours.iter().fold(5381u32, |hash, four| {
        let [a, b, c, d] = four.map(u32::from);
        let pairs = (a * 33 + b, c * 33 + d);
        hash.wrapping_mul(33 * 33 * 33 * 33).wrapping_add(pairs.0 * (33 * 33) + pairs.1)
    });
    rest.iter().fold(hash, |hash, &byte| hash.wrapping_mul(33).wrapping_add(byte.into()))
}

/// The hash function of `DT_HASH`, and of version names.
pub fn sysv_hash(name: &[u8]) -> u32 {
    name.iter().fold(0, |hash: u32, &byte| {
        let next = (hash << 4).wrapping_add(byte.into());
        let high = next & 0xf000_0000;
        (next ^ (high >> 24)) & !high
    })
}

/// Whichever table an object has; the GNU one if both.
#[derive(Clone, Debug)]
pub enum HashTable {
    /// `DT_GNU_HASH`.
    Gnu(GnuHash),
    /// `DT_HASH`.
    Sysv(SysvHash),
}

impl HashTable {
    /// The first symbol number of those that may have this name which `is_it` says yes to.
    #[inline]
    pub fn find(&self, name: &Name<'_>, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        match self {
            Self::Gnu(table) => table.find(name.gnu, is_it),
            Self::Sysv(table) => table.find(sysv_hash(name.bytes), is_it),
        }
    }

    /// How many symbols there are. For a GNU table, those up to the last that can be found.
    pub fn symbol_count(&self) -> u32 {
        match self {
            Self::Gnu(table) => table.symbol_count(),
            Self::Sysv(table) => table.chain_count,
        }
    }
}

/// `DT_GNU_HASH`.
#[derive(Clone, Debug)]
pub struct GnuHash {
    bloom: Bytes,
    bloom_mask: u32,
    bloom_shift: u32,
    buckets: Bytes,
    bucket_count: u32,
    /// Of the symbol with number `first` and those after it; the lowest bit ends a chain.
    chains: Bytes,
    first: u32,
    class: Class,
}

impl GnuHash {
    /// Reads it where it is.
    pub fn read(image: &dyn Image, address: LinkAddress, class: Class) -> Result<Self, Problem> {
        let outside = Problem::TableOutside { what: "DT_GNU_HASH", address: address.0 };
        let all = image.rest(address).ok_or(outside.clone())?;
        let word = |at| u32_at(&all, at).ok_or(outside.clone());
        let (bucket_count, first, bloom_words, bloom_shift) = (word(0)?, word(4)?, word(8)?, word(12)?);
        if !bloom_words.is_power_of_two() {
            return Err(Problem::BadBloomSize(bloom_words));
        }
        let bloom_end = 16 + u64::from(bloom_words) * class.word() as u64;
        let buckets_end = bloom_end + u64::from(bucket_count) * 4;
        if buckets_end > all.len() as u64 {
            return Err(outside);
        }
        let (bloom_end, buckets_end) = (bloom_end as usize, buckets_end as usize);
        Ok(Self {
            bloom: all.slice(16..bloom_end),
            bloom_mask: bloom_words - 1,
            bloom_shift,
            buckets: all.slice(bloom_end..buckets_end),
            bucket_count,
            chains: all.slice(buckets_end..),
            first,
            class,
        })
    }

    /// The bloom filter, of which asking costs a few instructions: all tables of a scope are asked for each name.
    #[inline]
    pub fn filter(&self) -> Filter<'_> {
        let bits = self.class.word().ilog2() + 3;
        Filter { words: &self.bloom, mask: self.bloom_mask, shift: self.bloom_shift, bits }
    }

    /// As [`HashTable::find`].
    #[inline]
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.bucket_count == 0 || !self.filter().may_have(hash) {
            return None;
        }
        let mut index = u32_at(&self.buckets, (hash % self.bucket_count) as usize * 4)?;
        loop {
            let entry = self.entry(index)?;
            if (entry ^ hash) & !1 == 0 && is_it(index) {
                return Some(index);
            }
            if entry & 1 != 0 {
                return None;
            }
            index = index.checked_add(1)?;
        }
    }

    /// The hash of the symbol with this number, but for its lowest bit, which says whether its chain ends.
    #[inline]
    pub fn entry(&self, index: u32) -> Option<u32> {
        u32_at(&self.chains, (index.checked_sub(self.first)? as usize).checked_mul(4)?)
    }

    fn symbol_count(&self) -> u32 {
        let buckets = self.buckets.chunks_exact(4).filter_map(|bucket| u32_at(bucket, 0));
        let Some(mut last) = buckets.max().filter(|&last| last >= self.first) else { return self.first };
        while self.entry(last).is_some_and(|entry| entry & 1 == 0) {
            last += 1;
        }
        last.saturating_add(1)
    }
}

/// Says of most names that are not in a table that they are not.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    words: &'a [u8],
    mask: u32,
    shift: u32,
    /// A word has two to this many bits.
    bits: u32,
}

impl Filter<'_> {
    /// Whether the filter lets a name with this hash pass.
    #[inline]
    pub fn may_have(&self, hash: u32) -> bool {
        let (word, second) = self.word(hash);
        (word >> self.bit(hash)) & second & 1 != 0
    }

    /// The same of a hash whose lowest bit is not known, as tables keep it ([`GnuHash::entry`]).
    #[inline]
    pub fn may_have_either(&self, hash: u32) -> bool {
        if self.shift == 0 {
            return self.may_have(hash | 1) || self.may_have(hash & !1);
        }
        // Both have their bits in one word: the first ones beside each other, the second one in common.
        let (word, second) = self.word(hash);
        (word >> (self.bit(hash) & !1)) & 3 != 0 && second & 1 != 0
    }

    /// The word that a hash has its bits in, and the same with the second of them as the lowest.
    #[inline]
    fn word(&self, hash: u32) -> (u64, u64) {
        let at = ((hash >> self.bits) & self.mask) as usize;
        let word = match self.bits {
            6 => u64_at(self.words, at * 8),
            _ => u32_at(self.words, at * 4).map(u64::from),
        };
        let word = word.unwrap_or(u64::MAX);
        (word, word >> self.bit(hash.checked_shr(self.shift).unwrap_or(0)))
    }

    /// Which bit of a word.
    #[inline]
    fn bit(&self, hash: u32) -> u32 {
        hash & ((1 << self.bits) - 1)
    }
}

/// `DT_HASH`.
#[derive(Clone, Debug)]
pub struct SysvHash {
    buckets: Bytes,
    bucket_count: u32,
    chains: Bytes,
    chain_count: u32,
}

impl SysvHash {
    /// Reads it where it is.
    pub fn read(image: &dyn Image, address: LinkAddress) -> Result<Self, Problem> {
        let outside = Problem::TableOutside { what: "DT_HASH", address: address.0 };
        let all = image.rest(address).ok_or(outside.clone())?;
        let word = |at| u32_at(&all, at).ok_or(outside.clone());
        let (bucket_count, chain_count) = (word(0)?, word(4)?);
        let buckets_end = 8 + u64::from(bucket_count) * 4;
        let chains_end = buckets_end + u64::from(chain_count) * 4;
        if chains_end > all.len() as u64 {
            return Err(outside);
        }
        Ok(Self {
            buckets: all.slice(8..buckets_end as usize),
            bucket_count,
            chains: all.slice(buckets_end as usize..chains_end as usize),
            chain_count,
        })
    }

    fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.bucket_count == 0 {
            return None;
        }
        let mut index = u32_at(&self.buckets, (hash % self.bucket_count) as usize * 4)?;
        // A chain that is longer than all symbols goes in a circle.
        for _ in 0..self.chain_count {
            if index == 0 {
                return None;
            }
            if is_it(index) {
                return Some(index);
            }
            index = u32_at(&self.chains, index as usize * 4)?;
        }
        None
    }
}
