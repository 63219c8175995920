//! Bytes that are written.

/// What has been written so far.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
}

impl Output {
    pub(super) fn position(&self) -> u32 {
        // Whoever is done looks whether this was ever reached.
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn zeros(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    pub(super) fn align_to_4(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.extend(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.extend(&value.to_le_bytes());
    }

    /// Overwrites a word that was reserved.
    pub(super) fn patch(&mut self, at: u32, value: u32) {
        self.patch_bytes(at, &value.to_le_bytes());
    }

    /// Overwrites half a word that was reserved.
    pub(super) fn patch_u16(&mut self, at: u32, value: u16) {
        self.patch_bytes(at, &value.to_le_bytes());
    }

    fn patch_bytes(&mut self, at: u32, bytes: &[u8]) {
        let at = at as usize;
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    pub(super) fn uleb128(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8);
    }

    /// One more than the value; nothing is zero.
    pub(super) fn uleb128p1(&mut self, value: Option<u32>) {
        self.uleb128(value.map_or(0, |value| value + 1));
    }

    pub(super) fn sleb128(&mut self, mut value: i32) {
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            let sign = byte & 0x40 != 0;
            if (value == 0 && !sign) || (value == -1 && sign) {
                return self.u8(byte);
            }
            self.u8(byte | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's page.
    #[test]
    fn leb128() {
        let made = |write: &dyn Fn(&mut Output)| {
            let mut out = Output::default();
            write(&mut out);
            out.into_bytes()
        };
        assert_eq!(made(&|out| out.uleb128(16256)), [0x80, 0x7f]);
        assert_eq!(made(&|out| out.sleb128(-128)), [0x80, 0x7f]);
        assert_eq!(made(&|out| out.sleb128(-1)), [0x7f]);
        assert_eq!(made(&|out| out.uleb128p1(Some(0x7e))), [0x7f]);
        assert_eq!(made(&|out| out.uleb128p1(None)), [0x00]);
    }
}
