//! Frames on a stream: `u32` payload length, payload. The payload's first byte says the kind of message.

use crate::codec::{DecodeError, Reader, Wire};
use std::io::{self, Read, Write};

/// Largest payload of a frame, in bytes. A longer one is refused before anything is allocated.
pub const MAX_PAYLOAD: usize = 256 << 20;

/// Largest payload before the hello was accepted: a stranger cannot make the server allocate more.
pub const MAX_FIRST_PAYLOAD: usize = 1 << 20;

/// A frame could not be sent or received.
#[derive(Debug)]
pub enum FrameError {
    /// The stream ended between two frames: the other side is gone.
    Closed,
    /// The stream failed.
    Io(io::Error),
    /// The payload's length is over the limit that holds now.
    TooLong {
        /// The length that the frame claims, in bytes.
        length: u64,
    },
    /// The payload is not a message.
    Decode(DecodeError),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the other side closed the connection"),
            Self::Io(_) => f.write_str("the connection failed"),
            Self::TooLong { length } => write!(f, "a frame of {length} bytes is longer than allowed"),
            Self::Decode(_) => f.write_str("a message could not be read"),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Decode(error) => Some(error),
            Self::Closed | Self::TooLong { .. } => None,
        }
    }
}

impl From<DecodeError> for FrameError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// Messages that travel in frames of their own: a kind byte tells them apart.
pub trait Message: Wire {}

/// Sends one message, in one write.
pub fn send<M: Message>(stream: &mut impl Write, message: &M) -> Result<(), FrameError> {
    let mut frame = vec![0; 4];
    message.put(&mut frame);
    let length = frame.len() - 4;
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLong { length: length as u64 });
    }
    #[expect(clippy::cast_possible_truncation, reason = "MAX_PAYLOAD fits u32")]
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    stream.write_all(&frame).and_then(|()| stream.flush()).map_err(FrameError::Io)
}

/// Receives one message whose payload is at most `limit` bytes long.
pub fn receive<M: Message>(stream: &mut impl Read, limit: usize) -> Result<M, FrameError> {
    let mut length = [0; 4];
    read_or_closed(stream, &mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > limit.min(MAX_PAYLOAD) {
        return Err(FrameError::TooLong { length: length as u64 });
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).map_err(FrameError::Io)?;
    decode(&payload).map_err(FrameError::Decode)
}

/// Reads one message that fills `payload`.
pub fn decode<M: Message>(payload: &[u8]) -> Result<M, DecodeError> {
    let mut reader = Reader::new(payload);
    let message = M::take(&mut reader)?;
    reader.finish()?;
    Ok(message)
}

/// Fills `buffer`, telling the end of the stream before its first byte from one inside it.
fn read_or_closed(stream: &mut impl Read, buffer: &mut [u8]) -> Result<(), FrameError> {
    let first = loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other.map_err(FrameError::Io)?,
        }
    };
    if first == 0 {
        return Err(FrameError::Closed);
    }
    stream.read_exact(&mut buffer[first..]).map_err(FrameError::Io)
}
