//! Compiles sources, and reads what came out.

use livepatch_object::layout::{Function, Layouts, Type, TypeId};
use livepatch_object::relocatable::Relocatable;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder for one test.
pub(crate) fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("layouts").join(test);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Runs rustc on a source of the crate `app`.
pub(crate) fn rustc(test: &str, source: &str, arguments: &[&str], output: &str) -> PathBuf {
    let folder = folder(test);
    let (source_file, output) = (folder.join("app.rs"), folder.join(output));
    std::fs::write(&source_file, source).expect("writing");
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition=2024", "--crate-name=app", "--cap-lints=allow", "-g"])
        .args(arguments)
        .arg("-o")
        .arg(&output)
        .arg(&source_file)
        .status();
    assert!(status.expect("rustc").success(), "{test}: {source}");
    output
}

pub(crate) const DEV: &[&str] = &[];
pub(crate) const DWARF_5: &[&str] = &["-Cdwarf-version=5"];
pub(crate) const RELEASE: &[&str] = &["-O"];

pub(crate) fn object(test: &str, source: &str, arguments: &[&str]) -> Relocatable {
    let arguments = [&["--emit=obj", "--crate-type=lib", "-Ccodegen-units=1"], arguments].concat();
    let path = rustc(test, source, &arguments, "app.o");
    Relocatable::parse(std::fs::read(path).expect("reading")).expect("an object")
}

/// An object and what it says.
pub(crate) struct Unit {
    pub(crate) image: Relocatable,
    pub(crate) layouts: Layouts,
}

impl Unit {
    pub(crate) fn of(test: &str, source: &str, arguments: &[&str]) -> Self {
        let image = object(test, source, arguments);
        let layouts = Layouts::read(&image).expect("readable").expect("debug information");
        Self { image, layouts }
    }

    pub(crate) fn get(&self, name: &str) -> Type<'_> {
        self.layouts.get(TypeId::of(name)).expect(name)
    }

    /// The function whose demangled symbol is `name`.
    pub(crate) fn function(&self, name: &str) -> Function<'_> {
        let mut all = self.layouts.functions();
        all.find(|it| livepatch_object::demangle(self.image.name(it.symbol())) == name).expect(name)
    }
}

/// The types of `old` that have another layout in `new`.
pub(crate) fn relaid(old: &Unit, new: &Unit) -> BTreeSet<TypeId> {
    let changed = |ty: &Type<'_>| new.layouts.get(ty.id()).is_some_and(|other| ty.is_relaid(&other));
    old.layouts.types().filter(changed).map(|ty| ty.id()).collect()
}
