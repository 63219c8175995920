//! Images in memory, by their link-time addresses: reading what is constant, and changing words.

use super::Reservation;
use bytes::Bytes;
use livepatch_object::address::{LinkAddress, RuntimeAddress, Slide};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a part of a reservation that nobody writes to.
struct Constant {
    reservation: Arc<Reservation>,
    part: Range<u64>,
}

impl AsRef<[u8]> for Constant {
    fn as_ref(&self) -> &[u8] {
        let at = (self.reservation.start.0 + self.part.start) as *const u8;
        let length = (self.part.end - self.part.start) as usize;
        // SAFETY: `Mapped::constant` is asked for segments only that are mapped readable and not writable, as
        // their file has them, and stay so until the reservation is dropped, which this keeps.
        unsafe { std::slice::from_raw_parts(at, length) }
    }
}

/// An image in memory: where its segments are, and which of its words may be changed.
#[derive(Debug)]
pub(crate) struct Mapped {
    reservation: Arc<Reservation>,
    slide: Slide,
    /// Link-time address of the reservation's first byte.
    first: LinkAddress,
    /// Link-time addresses of memory that is writable until relocation is over; by address.
    writable: Vec<Range<u64>>,
    /// The same of all memory that can be read.
    readable: Vec<Range<u64>>,
}

impl Mapped {
    /// `writable` and `readable` are what has been mapped so into the reservation.
    pub(crate) fn new(
        reservation: Reservation,
        first: LinkAddress,
        writable: Vec<Range<u64>>,
        readable: Vec<Range<u64>>,
    ) -> Self {
        let slide = Slide::between(first, reservation.start);
        Self { reservation: Arc::new(reservation), slide, first, writable, readable }
    }

    pub(crate) fn slide(&self) -> Slide {
        self.slide
    }

    pub(crate) fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// The part of the reservation that begins and ends at these link-time addresses.
    pub(crate) fn part(&self, addresses: Range<u64>) -> Option<Range<u64>> {
        let start = addresses.start.checked_sub(self.first.0)?;
        let end = addresses.end.checked_sub(self.first.0)?;
        (start <= end && end <= self.reservation.size).then_some(start..end)
    }

    /// The bytes between two link-time addresses, of a segment that was mapped readable and not writable. None
    /// if they are not all in one such segment.
    pub(crate) fn constant(&self, addresses: Range<u64>) -> Option<Bytes> {
        let inside = |range: &Range<u64>| range.start <= addresses.start && addresses.end <= range.end;
        if !self.readable.iter().any(inside) || self.writable.iter().any(inside) {
            return None;
        }
        let part = self.part(addresses)?;
        Some(Bytes::from_owner(Constant { reservation: Arc::clone(&self.reservation), part }))
    }

    /// The bytes between two link-time addresses, copied as they are now, of one segment that can be read.
    pub(crate) fn copy(&self, addresses: Range<u64>) -> Option<Bytes> {
        let inside = |range: &Range<u64>| range.start <= addresses.start && addresses.end <= range.end;
        self.readable.iter().find(|range| inside(range))?;
        let part = self.part(addresses)?;
        let mut bytes = vec![0; (part.end - part.start) as usize];
        let at = (self.reservation.start.0 + part.start) as *const u8;
        // SAFETY: mapped readable, for all of its bytes; the library does not run yet, or what is copied is not
        // written to.
        unsafe { at.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Some(bytes.into())
    }

    /// Words of a pointer's size, of one segment that can be read, each as it is when it is asked for.
    pub(crate) fn pointers(
        &self,
        address: LinkAddress,
        count: u64,
    ) -> Option<impl DoubleEndedIterator<Item = (LinkAddress, u64)>> {
        const WORD: u64 = size_of::<usize>() as u64;
        let end = address.0.checked_add(count.checked_mul(WORD)?)?;
        let inside = |range: &&Range<u64>| range.start <= address.0 && end <= range.end;
        self.readable.iter().find(inside)?;
        let slide = self.slide.bits();
        Some((0..count).map(move |index| {
            let place = address.0 + index * WORD;
            // SAFETY: mapped readable, for all of its bytes, as long as the image is borrowed here; a plain number is
            // valid whatever is there.
            let word = unsafe { (slide.wrapping_add(place) as *const usize).read_unaligned() };
            (LinkAddress(place), word as u64)
        }))
    }

    /// The run-time address of a link-time address inside the image.
    pub(crate) fn runtime(&self, address: LinkAddress) -> Option<RuntimeAddress> {
        self.part(address.0..address.0)?;
        self.slide.runtime(address)
    }

    /// Whether a run-time address is inside the image.
    pub(crate) fn contains(&self, address: RuntimeAddress) -> bool {
        let start = self.reservation.start;
        address >= start && address.0 - start.0 < self.reservation.size
    }

    /// Its words, to be changed.
    pub(crate) fn places(&self) -> Places<'_> {
        Places { image: self, slide: self.slide.bits(), open: 0..0 }
    }

    /// A word, aligned or not, of what can be read.
    pub(crate) fn load(&self, place: LinkAddress, bytes: u64) -> Option<u64> {
        let end = place.0.checked_add(bytes)?;
        let inside = |range: &&Range<u64>| range.start <= place.0 && end <= range.end;
        self.readable.iter().find(inside)?;
        let at = self.slide.runtime(place)?.0;
        // SAFETY: mapped readable, for all of its bytes; a plain number is valid whatever is there.
        unsafe {
            match bytes {
                4 => Some((at as *const u32).read_unaligned().into()),
                8 => Some((at as *const u64).read_unaligned()),
                _ => None,
            }
        }
    }
}

/// Where an image's words may be changed, with the last range found kept at hand.
pub(crate) struct Places<'a> {
    image: &'a Mapped,
    slide: u64,
    open: Range<u64>,
}

impl Places<'_> {
    /// The run-time address of a place of `bytes` bytes, if all of them are writable.
    #[inline]
    pub(crate) fn find(&mut self, place: LinkAddress, bytes: u64) -> Option<RuntimeAddress> {
        let end = place.0.checked_add(bytes)?;
        if place.0 < self.open.start || end > self.open.end {
            self.look_up(place.0, end)?;
        }
        // Inside the image, which is mapped: so this cannot overflow.
        Some(RuntimeAddress(self.slide.wrapping_add(place.0)))
    }

    #[cold]
    fn look_up(&mut self, start: u64, end: u64) -> Option<()> {
        let inside = |range: &&Range<u64>| range.start <= start && end <= range.end;
        self.open = self.image.writable.iter().find(inside)?.clone();
        Some(())
    }

    /// Stores a word of eight bytes; false if there is no writable place for it.
    #[inline]
    pub(crate) fn store64(&mut self, place: LinkAddress, value: u64) -> bool {
        let Some(at) = self.find(place, 8) else { return false };
        // SAFETY: `find` saw that these bytes are mapped writable; the library does not run yet, and nobody
        // has a reference to them.
        unsafe { (at.0 as *mut u64).write_unaligned(value) };
        true
    }

    /// Stores words of eight bytes until one is outside the range that the last one was in; how many.
    ///
    /// The compiler cannot know that a word that is stored here is no part of `self`: so nothing of `self` is
    /// used meanwhile.
    #[inline]
    pub(crate) fn store_run(&self, words: impl Iterator<Item = (LinkAddress, u64)>) -> usize {
        let (slide, start, length) = (self.slide, self.open.start, self.open.end - self.open.start);
        let Some(last) = length.checked_sub(8) else { return 0 };
        let mut done = 0;
        for (place, value) in words {
            if place.0.wrapping_sub(start) > last {
                break;
            }
            // SAFETY: all eight bytes are in the range, which `find` saw to be mapped writable; the library does
            // not run yet, and nobody has a reference to them.
            unsafe { (slide.wrapping_add(place.0) as *mut u64).write_unaligned(value) };
            done += 1;
        }
        done
    }

    /// Stores a word of four bytes, as [`Places::store64`] does.
    #[inline]
    pub(crate) fn store32(&mut self, place: LinkAddress, value: u32) -> bool {
        let Some(at) = self.find(place, 4) else { return false };
        // SAFETY: as in `store64`.
        unsafe { (at.0 as *mut u32).write_unaligned(value) };
        true
    }

    /// Adds to a word of eight bytes.
    #[inline]
    pub(crate) fn add64(&mut self, place: LinkAddress, value: u64) -> bool {
        let Some(at) = self.find(place, 8) else { return false };
        // SAFETY: as in `store64`; what is writable is readable on every system that is known here.
        unsafe {
            let word = (at.0 as *const u64).read_unaligned();
            (at.0 as *mut u64).write_unaligned(word.wrapping_add(value));
        }
        true
    }
}
