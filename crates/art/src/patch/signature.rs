//! Signatures of JARs (JAR file specification, "signed JAR file"; what Android calls scheme v1): digests of entries
//! in the manifest, the manifest's digest in a signature file, that one's signature as PKCS #7.
//!
//! More is asked for than of a JAR: every entry must be covered, the patch's own manifest among them.

mod keys;
mod pkcs7;

pub use keys::{Certificate, Key};

use super::manifest::{Manifest, ManifestError, Section};
use crate::archive::Entry;
use base64ct::{Base64, Encoding as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use thiserror::Error;

const JAR_MANIFEST: &str = "META-INF/MANIFEST.MF";
/// The name under which we sign.
const OWN_NAME: &str = "META-INF/LIVEPATC";

/// What is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Strictness {
    /// SHA-256 or better, and every entry covered.
    #[default]
    Strict,
    /// SHA-1 as well, and a patch's manifest that is not covered: what AndFix's tool writes.
    AsAndFix,
}

/// Why a signature does not hold, or cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SignatureError {
    /// There is none.
    #[error("it is not signed")]
    Missing,
    /// There are several.
    #[error("it is signed more than once")]
    Several,
    /// A manifest or a signature file cannot be read.
    #[error("{name}: {source}")]
    Manifest {
        /// Which.
        name: String,
        /// Why not.
        source: ManifestError,
    },
    /// An entry's bytes are others than were signed.
    #[error("{0} is not as it was signed")]
    Changed(String),
    /// An entry was added, or the maker left it out.
    #[error("{0} is not covered by the signature")]
    NotCovered(String),
    /// An entry was removed.
    #[error("{0} was signed and is not there")]
    Removed(String),
    /// Digests that can be forged.
    #[error("{0} has no digest but a weak one")]
    Weak(String),
    /// The key did not make this signature.
    #[error("the signature is not of what it should be of")]
    Wrong,
    /// The structure is broken, or of a kind that is not known.
    #[error("the signature cannot be read: {0}")]
    Malformed(&'static str),
    /// Someone else has signed it.
    #[error("it is signed by someone else, whose certificate has the SHA-256 {0}")]
    Stranger(String),
    /// A key or a certificate cannot be read.
    #[error("{0}")]
    Key(&'static str),
}

/// The digests that are known, the best ones first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hash {
    Sha512,
    Sha384,
    Sha256,
    Sha1,
}

impl Hash {
    const ALL: [Self; 4] = [Self::Sha512, Self::Sha384, Self::Sha256, Self::Sha1];

    /// Names in manifests.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Sha512 => &["SHA-512", "SHA512"],
            Self::Sha384 => &["SHA-384", "SHA384"],
            Self::Sha256 => &["SHA-256", "SHA256"],
            Self::Sha1 => &["SHA1", "SHA-1", "SHA"],
        }
    }

    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
        }
    }

    fn is_weak(self) -> bool {
        self == Self::Sha1
    }
}

/// Compares the best digest of a section, under headers that end so, with bytes.
fn check(
    section: &Section,
    suffix: &str,
    bytes: &[u8],
    name: &str,
    strictness: Strictness,
) -> Result<(), SignatureError> {
    for hash in Hash::ALL {
        let found = hash.names().iter().find_map(|known| section.get(&format!("{known}{suffix}")));
        let Some(said) = found else { continue };
        if hash.is_weak() && strictness == Strictness::Strict {
            return Err(SignatureError::Weak(name.to_owned()));
        }
        return match said == Base64::encode_string(&hash.of(bytes)) {
            true => Ok(()),
            false => Err(SignatureError::Changed(name.to_owned())),
        };
    }
    Err(SignatureError::NotCovered(name.to_owned()))
}

/// What signatures consist of is not signed itself.
fn is_of_signatures(name: &str) -> bool {
    let Some(file) = name.strip_prefix("META-INF/").filter(|file| !file.contains('/')) else { return false };
    let file = file.to_ascii_uppercase();
    file == "MANIFEST.MF"
        || file.starts_with("SIG-")
        || [".SF", ".RSA", ".DSA", ".EC"].iter().any(|end| file.ends_with(end))
}

fn read(entry: &Entry) -> Result<Manifest, SignatureError> {
    let name = entry.name.clone();
    Manifest::read(&entry.bytes).map_err(|source| SignatureError::Manifest { name, source })
}

/// Who has signed all of these entries.
pub(super) fn verify(entries: &[Entry], strictness: Strictness) -> Result<Certificate, SignatureError> {
    let find = |name: &str| entries.iter().find(|entry| entry.name == name);
    let manifest = find(JAR_MANIFEST).ok_or(SignatureError::Missing)?;
    let is_block = |entry: &&Entry| {
        let name = entry.name.to_ascii_uppercase();
        is_of_signatures(&name) && [".RSA", ".DSA", ".EC"].iter().any(|end| name.ends_with(end))
    };
    let mut blocks = entries.iter().filter(is_block);
    let block = blocks.next().ok_or(SignatureError::Missing)?;
    if blocks.next().is_some() {
        return Err(SignatureError::Several);
    }
    let stem = block.name.rsplit_once('.').map_or("", |(stem, _)| stem);
    let file = find(&format!("{stem}.SF")).ok_or(SignatureError::Missing)?;
    // From the outside in: nothing is read before what vouches for it was.
    let signer = pkcs7::verify(&block.bytes, &file.bytes, strictness)?;
    check(&read(file)?.main, "-Digest-Manifest", &manifest.bytes, JAR_MANIFEST, strictness)?;
    let covered = read(manifest)?;
    for section in &covered.entries {
        let name =
            section.get("Name").ok_or(SignatureError::Malformed("an entry of the manifest has no name"))?;
        let entry = find(name).ok_or_else(|| SignatureError::Removed(name.to_owned()))?;
        check(section, "-Digest", &entry.bytes, name, strictness)?;
    }
    for entry in entries.iter().filter(|entry| !is_of_signatures(&entry.name)) {
        let is_covered = covered.entries.iter().any(|section| section.get("Name") == Some(&entry.name));
        let is_excepted = strictness == Strictness::AsAndFix && entry.name == super::MANIFEST;
        if !is_covered && !is_excepted {
            return Err(SignatureError::NotCovered(entry.name.clone()));
        }
    }
    Ok(signer)
}

/// The manifest, the signature file and the signature of entries.
pub(super) fn sign(
    entries: &[(String, Vec<u8>)],
    key: &Key,
) -> Result<Vec<(String, Vec<u8>)>, SignatureError> {
    let failed = |source| SignatureError::Manifest { name: JAR_MANIFEST.to_owned(), source };
    let digest = |bytes: &[u8]| Base64::encode_string(&Hash::Sha256.of(bytes));
    let by = concat!("livepatch ", env!("CARGO_PKG_VERSION"));
    let (mut manifest, mut file) = (Manifest::default(), Manifest::default());
    manifest.main.push("Manifest-Version", "1.0".to_owned());
    manifest.main.push("Created-By", by.to_owned());
    for (name, bytes) in entries {
        let mut section = Section::default();
        section.push("Name", name.clone());
        section.push("SHA-256-Digest", digest(bytes));
        let mut of_file = Section::default();
        of_file.push("Name", name.clone());
        of_file.push("SHA-256-Digest", digest(&section.write().map_err(failed)?));
        manifest.entries.push(section);
        file.entries.push(of_file);
    }
    let manifest_bytes = manifest.write().map_err(failed)?;
    file.main.push("Signature-Version", "1.0".to_owned());
    file.main.push("Created-By", by.to_owned());
    file.main.push("SHA-256-Digest-Manifest", digest(&manifest_bytes));
    let file_bytes = file.write().map_err(failed)?;
    let block = pkcs7::sign(&file_bytes, key)?;
    Ok(vec![
        (JAR_MANIFEST.to_owned(), manifest_bytes),
        (format!("{OWN_NAME}.SF"), file_bytes),
        (format!("{OWN_NAME}.{}", key.extension()), block),
    ])
}
