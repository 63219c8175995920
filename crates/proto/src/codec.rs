//! Values as bytes: the reader that never trusts a length, and the traits of what can be sent.

use crate::WireAddress;

/// Longest string that a message may carry, in bytes.
pub const MAX_TEXT: usize = 1 << 16;

/// Why bytes are not the message they claim to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The message ends inside a value.
    Truncated,
    /// A count says more than the rest of the message can hold, or more than the type's limit.
    TooLong,
    /// A tag byte that no variant of the type has.
    UnknownTag {
        /// The type that was being read.
        of: &'static str,
        /// The tag.
        tag: u8,
    },
    /// A string that is not UTF-8.
    NotUtf8,
    /// Bytes were left after the last field.
    TrailingBytes,
    /// A hello that does not start with the magic bytes.
    NotLivepatch,
    /// A hello of another protocol number.
    OtherProtocol {
        /// The number that the other side speaks.
        theirs: u32,
    },
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => f.write_str("the message ends inside a value"),
            Self::TooLong => f.write_str("a length in the message is larger than allowed"),
            Self::UnknownTag { of, tag } => write!(f, "{tag} is no kind of {of}"),
            Self::NotUtf8 => f.write_str("a text in the message is not UTF-8"),
            Self::TrailingBytes => f.write_str("the message goes on after its last field"),
            Self::NotLivepatch => f.write_str("the other side does not speak the livepatch protocol"),
            Self::OtherProtocol { theirs } => {
                write!(f, "the other side speaks protocol {theirs}, this side speaks {}", crate::PROTOCOL)
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// The unread rest of a message.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    /// A count of things that take at least `each` bytes: never more than the message can still hold.
    fn count(&mut self, each: usize) -> Result<usize, DecodeError> {
        let n = u32::from_le_bytes(self.array()?) as usize;
        if n.checked_mul(each.max(1)).is_none_or(|need| need > self.rest.len()) {
            return Err(DecodeError::TooLong);
        }
        Ok(n)
    }

    /// Says that the message must end here.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }
}

/// What can be sent.
pub trait Wire: Sized {
    /// The fewest bytes that a value takes: what a list's count is checked against.
    const MIN: usize;
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads one value.
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

macro_rules! wire_integers {
    ($($int:ty),*) => {$(
        impl Wire for $int {
            const MIN: usize = size_of::<$int>();
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_le_bytes(reader.array()?))
            }
        }
    )*};
}
wire_integers!(u8, u16, u32, u64, i32, i64);

impl Wire for WireAddress {
    const MIN: usize = 8;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u64::take(reader).map(Self)
    }
}

impl<const N: usize> Wire for [u8; N] {
    const MIN: usize = N;
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array()
    }
}

impl<T: Wire> Wire for Option<T> {
    const MIN: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.put(out);
            }
        }
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::take(reader)? {
            0 => Ok(None),
            1 => T::take(reader).map(Some),
            tag => Err(DecodeError::UnknownTag { of: "option", tag }),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    const MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        for value in self {
            value.put(out);
        }
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = reader.count(T::MIN)?;
        (0..n).map(|_| T::take(reader)).collect()
    }
}

impl Wire for String {
    const MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        // Longer texts are cut, on a character boundary: what a message says must arrive.
        let mut n = self.len().min(MAX_TEXT);
        while !self.is_char_boundary(n) {
            n -= 1;
        }
        put_count(n, out);
        out.extend_from_slice(&self.as_bytes()[..n]);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = reader.count(1)?;
        if n > MAX_TEXT {
            return Err(DecodeError::TooLong);
        }
        let bytes = reader.bytes(n)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::NotUtf8)
    }
}

fn put_count(n: usize, out: &mut Vec<u8>) {
    // A list of more than 2^32 values would not fit a frame either, whose writer refuses it.
    u32::try_from(n).unwrap_or(u32::MAX).put(out);
}

/// Declares a struct whose wire form is its fields in order.
macro_rules! wire_struct {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        pub struct $name { $($(#[$field_meta])* pub $field: $type),* }

        impl $crate::codec::Wire for $name {
            const MIN: usize = 0 $(+ <$type as $crate::codec::Wire>::MIN)*;
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::codec::Wire::put(&self.$field, out);)*
            }
            fn take(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                Ok(Self { $($field: $crate::codec::Wire::take(reader)?),* })
            }
        }
    };
}

/// Declares an enum whose wire form is a tag byte and the variant's fields in order.
macro_rules! wire_enum {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$variant_meta:meta])* $tag:literal => $variant:ident $({
            $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)?
        })?),* $(,)?
    }) => {
        $(#[$meta])*
        pub enum $name { $($(#[$variant_meta])* $variant $({ $($(#[$field_meta])* $field: $type),* })?),* }

        impl $crate::codec::Wire for $name {
            const MIN: usize = 1;
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $({ $($field),* })? => {
                        out.push($tag);
                        $($($crate::codec::Wire::put($field, out);)*)?
                    })*
                }
            }
            fn take(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                match <u8 as $crate::codec::Wire>::take(reader)? {
                    $($tag => Ok(Self::$variant $({ $($field: $crate::codec::Wire::take(reader)?),* })?),)*
                    tag => Err($crate::DecodeError::UnknownTag { of: stringify!($name), tag }),
                }
            }
        }
    };
}

pub(crate) use {wire_enum, wire_struct};
