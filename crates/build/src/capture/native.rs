//! Strings of the operating system in JSON, whatever bytes they hold.

use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// An argument, a path or a variable: text where it is UTF-8, a list of bytes where it is not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(from = "Encoded", into = "Encoded")]
pub struct NativeString(pub OsString);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Encoded {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Encoded> for NativeString {
    fn from(encoded: Encoded) -> Self {
        Self(match encoded {
            Encoded::Text(text) => text.into(),
            Encoded::Bytes(bytes) => OsString::from_vec(bytes),
        })
    }
}

impl From<NativeString> for Encoded {
    fn from(native: NativeString) -> Self {
        match native.0.into_string() {
            Ok(text) => Self::Text(text),
            Err(native) => Self::Bytes(native.as_bytes().to_vec()),
        }
    }
}

impl NativeString {
    /// The string as a path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl<T: AsRef<OsStr> + ?Sized> From<&T> for NativeString {
    fn from(native: &T) -> Self {
        Self(native.as_ref().to_owned())
    }
}

impl From<NativeString> for PathBuf {
    fn from(native: NativeString) -> Self {
        native.0.into()
    }
}

impl AsRef<OsStr> for NativeString {
    fn as_ref(&self) -> &OsStr {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive() {
        for bytes in [b"plain".as_slice(), "schön".as_bytes(), b"\xff\xfe/x", b""] {
            let native = NativeString(OsString::from_vec(bytes.to_vec()));
            let json = serde_json::to_string(&native).unwrap();
            assert_eq!(serde_json::from_str::<NativeString>(&json).unwrap(), native, "{json}");
        }
    }
}
