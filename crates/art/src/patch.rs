//! Patches as files: `.apatch`, a signed JAR with `classes.dex` and a manifest of its own.
//!
//! What was read is [`Unverified`]; only [`Verified`] gives out dex files to be loaded.

mod created;
mod manifest;
mod replacements;
mod signature;

pub use created::Created;
pub use manifest::{Manifest, ManifestError, Section};
pub use replacements::{
    ANNOTATION, ANNOTATIONS_KNOWN, OPENS, Original, Replacement, STANDS_FOR, StandIn, annotation, opened,
    replacements, stand_ins,
};
pub(crate) use replacements::{opens, stands_for};
pub use signature::{Certificate, Key, SignatureError, Strictness};

use crate::archive::{self, Entry, ZipError};
use crate::dex::{self, Dex, DexError};
use bytes::Bytes;
use thiserror::Error;

/// Where a patch's manifest is.
pub const MANIFEST: &str = "META-INF/PATCH.MF";
/// Which header lists the classes; AndFix's own tool may write others that end so.
const CLASSES: &str = "Patch-Classes";

/// Why a patch cannot be read or written.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PatchError {
    /// The archive is broken.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// Its manifest is missing.
    #[error("there is no {MANIFEST}: it is no patch")]
    NoManifest,
    /// Its manifest cannot be read.
    #[error("its manifest")]
    Manifest(#[from] ManifestError),
    /// It has no code.
    #[error("there is no classes.dex in it")]
    NoDex,
    /// Its code cannot be read.
    #[error("{name} in it")]
    Dex {
        /// Which dex file.
        name: String,
        /// What is wrong with it.
        #[source]
        source: DexError,
    },
    /// Its signature does not hold.
    #[error("its signature")]
    Signature(#[from] SignatureError),
    /// It lists a class that it does not have.
    #[error("it lists a class {0}, and has none of that name")]
    NoClass(String),
}

/// What a patch says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    /// Its name.
    pub name: String,
    /// When it was made. The newest one is applied last.
    pub created: Created,
    /// The program as it is to be.
    pub from: String,
    /// The program as it is.
    pub to: String,
    /// What made the patch.
    pub by: String,
    /// The names of the classes whose methods replace others.
    pub classes: Vec<String>,
}

impl About {
    fn read(manifest: &Manifest) -> Result<Self, ManifestError> {
        let get = |name: &str| manifest.main.get(name).map(str::to_owned);
        let required = |name: &'static str| get(name).ok_or(ManifestError::Missing(name));
        let listed = manifest.main.headers().filter(|(name, _)| name.ends_with("-Classes"));
        let names = listed.flat_map(|(_, value)| value.split(','));
        let names = names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let created = required("Created-Time")?;
        Ok(Self {
            name: required("Patch-Name")?,
            created: Created::parse(&created).ok_or(ManifestError::Time(created))?,
            from: get("From-File").unwrap_or_default(),
            to: get("To-File").unwrap_or_default(),
            by: get("Created-By").unwrap_or_default(),
            classes: names.collect(),
        })
    }

    fn write(&self) -> Result<Vec<u8>, ManifestError> {
        let mut main = Section::default();
        let headers = [
            ("Manifest-Version", "1.0".to_owned()),
            ("Patch-Name", self.name.clone()),
            ("Created-Time", self.created.to_string()),
            ("From-File", self.from.clone()),
            ("To-File", self.to.clone()),
            (CLASSES, self.classes.join(",")),
            ("Created-By", self.by.clone()),
        ];
        headers.into_iter().for_each(|(name, value)| main.push(name, value));
        Manifest { main, entries: Vec::new() }.write()
    }
}

/// A patch that anyone may have made.
#[derive(Clone, Debug)]
pub struct Unverified {
    about: About,
    entries: Vec<Entry>,
}

impl Unverified {
    /// Reads an archive.
    pub fn read(bytes: &Bytes) -> Result<Self, PatchError> {
        let entries = archive::read(bytes, |_| true)?;
        let manifest = entries.iter().find(|entry| entry.name == MANIFEST).ok_or(PatchError::NoManifest)?;
        let about = About::read(&Manifest::read(&manifest.bytes)?)?;
        Ok(Self { about, entries })
    }

    /// What it says about itself. Nobody may have meant it so.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The names and the lengths of all that is in it.
    pub fn contents(&self) -> impl Iterator<Item = (&str, usize)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), entry.bytes.len()))
    }

    /// Its classes, for whoever looks at them and does not run them.
    pub fn classes(&self) -> Result<Vec<Dex>, PatchError> {
        let files = dex_files(&self.entries)?;
        let read = |(name, bytes): (String, Bytes)| {
            dex::read(&bytes).map_err(|source| PatchError::Dex { name, source })
        };
        files.into_iter().map(read).collect()
    }

    /// Who has signed it, whoever that is.
    pub fn signer(&self, strictness: Strictness) -> Result<Certificate, PatchError> {
        Ok(signature::verify(&self.entries, strictness)?)
    }

    /// Checks that it is as its maker left it, that the maker's key is that of a certificate, and that it can be read
    /// as a whole.
    pub fn verify(self, trusted: &Certificate, strictness: Strictness) -> Result<Verified, PatchError> {
        let signer = self.signer(strictness)?;
        if !signer.has_key_of(trusted) {
            return Err(SignatureError::Stranger(signer.fingerprint()).into());
        }
        let classes = self.classes()?;
        let has =
            |name: &String| classes.iter().flat_map(|dex| &dex.classes).any(|class| class.name() == *name);
        if let Some(missing) = self.about.classes.iter().find(|name| !has(name)) {
            return Err(PatchError::NoClass(missing.clone()));
        }
        let files = dex_files(&self.entries)?;
        Ok(Verified { about: self.about, files, classes })
    }
}

/// A patch that is as its maker left it, and the maker is trusted.
#[derive(Clone, Debug)]
pub struct Verified {
    about: About,
    files: Vec<(String, Bytes)>,
    classes: Vec<Dex>,
}

impl Verified {
    /// What it says about itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Its dex files, by their names.
    pub fn files(&self) -> &[(String, Bytes)] {
        &self.files
    }

    /// What they consist of, in the same order.
    pub fn classes(&self) -> &[Dex] {
        &self.classes
    }
}

/// `classes.dex`, `classes2.dex` and so on, in the order in which a program has them.
pub(crate) fn dex_files(entries: &[Entry]) -> Result<Vec<(String, Bytes)>, PatchError> {
    let names = std::iter::once("classes.dex".to_owned()).chain((2..).map(|nth| format!("classes{nth}.dex")));
    let find = |name: String| {
        let entry = entries.iter().find(|entry| entry.name == name)?;
        Some((name, entry.bytes.clone()))
    };
    let files: Vec<_> = names.map_while(find).collect();
    if files.is_empty() { Err(PatchError::NoDex) } else { Ok(files) }
}

/// Writes a signed patch, of one dex file or several.
pub fn write(about: &About, files: &[Vec<u8>], key: &Key) -> Result<Vec<u8>, PatchError> {
    if files.is_empty() {
        return Err(PatchError::NoDex);
    }
    let name =
        |nth: usize| if nth == 0 { "classes.dex".to_owned() } else { format!("classes{}.dex", nth + 1) };
    let mut entries: Vec<(String, Vec<u8>)> = vec![(MANIFEST.to_owned(), about.write()?)];
    entries.extend(files.iter().enumerate().map(|(nth, bytes)| (name(nth), bytes.clone())));
    let signed = signature::sign(&entries, key)?;
    // Readers of JARs expect the manifest first.
    let all: Vec<(&str, &[u8])> =
        signed.iter().chain(&entries).map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    Ok(archive::write(&all)?)
}
