//! The engine of the process, and files of patches.

use crate::dex::{self, Dex};
use crate::engine::{Classes, Engine, EngineError, initialised};
use crate::jni::{Environment, Thrown};
use crate::patch::{Certificate, Strictness, Unverified};
use crate::release::Release;
use jni_sys::{jclass, jobject};
use sha2::{Digest as _, Sha256};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error;
use std::ffi::{CString, c_char};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

static ENGINE: Mutex<Option<Engine>> = Mutex::new(None);

thread_local! {
    static ERROR: RefCell<CString> = RefCell::default();
    /// Whether this thread has the engine.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// An error with its causes, as one line.
fn text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Keeps why something failed, for this thread; 0 or more is how it went well.
pub(super) fn long_code(result: Result<i64, String>) -> i64 {
    let said = result.as_ref().err().map(|said| said.replace('\0', " ")).unwrap_or_default();
    ERROR.with_borrow_mut(|error| *error = CString::new(said).unwrap_or_default());
    result.unwrap_or(-1)
}

pub(super) fn code(result: Result<i32, String>) -> i32 {
    long_code(result.map(i64::from)) as i32
}

pub(super) fn last_error() -> *const c_char {
    ERROR.with_borrow(|error| error.as_ptr())
}

/// Starts the engine, once: a second start is checked and changes nothing.
pub(super) fn start(env: Environment, api_level: u32, probe: jclass) -> Result<(), String> {
    let release = Release::of_level(api_level);
    let release = release.ok_or_else(|| format!("nothing is known about API level {api_level}"))?;
    locked(|engine| {
        let started = Engine::start(env, release, probe).map_err(|error| text(&error))?;
        engine.get_or_insert(started);
        Ok(())
    })
}

/// Has the engine for this thread alone. It runs Java code, which may come back here: it would wait for itself.
fn locked<T>(something: impl FnOnce(&mut Option<Engine>) -> Result<T, String>) -> Result<T, String> {
    /// Until this thread leaves.
    struct Inside;

    impl Drop for Inside {
        fn drop(&mut self) {
            INSIDE.set(false);
        }
    }

    if INSIDE.replace(true) {
        return Err(
            "this thread is replacing methods, and came back from there: in a class's initialiser".to_owned()
        );
    }
    let _inside = Inside;
    something(&mut ENGINE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Has the engine do something.
pub(super) fn with<T>(something: impl FnOnce(&mut Engine) -> Result<T, EngineError>) -> Result<T, String> {
    locked(|engine| {
        let engine = engine.as_mut().ok_or("the engine is not started")?;
        something(engine).map_err(|error| text(&error))
    })
}

/// The methods that are replaced, a line each.
pub(super) fn list() -> Result<String, String> {
    with(|engine| Ok(engine.list().into_iter().map(|replaced| replaced.method + "\n").collect()))
}

/// Verifies a patch, and writes its dex file: from then on that is what counts, and nobody writes to it.
pub(super) fn verify(patch: &Path, certificate: &[u8], folder: &Path) -> Result<Vec<String>, String> {
    let system = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    let certificate = Certificate::read(certificate).map_err(|error| text(&error))?;
    let bytes = std::fs::read(patch).map_err(system(patch))?;
    let verified = Unverified::read(&bytes.into())
        .and_then(|read| read.verify(&certificate, Strictness::Strict))
        .map_err(|error| text(&error))?;
    let bytes = &match verified.files() {
        [(_, bytes)] => bytes.to_vec(),
        // As one: classes of one may need those of another.
        _ => {
            let version = verified.classes().iter().map(|dex| dex.version).max().unwrap_or(35);
            let classes = verified.classes().iter().flat_map(|dex| dex.classes.iter().cloned()).collect();
            dex::write(&Dex { version, classes }).map_err(|error| text(&error))?
        }
    };
    let name: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let (new, path) = (folder.join(format!("{name}.new")), folder.join(format!("{name}.dex")));
    // One that cannot be written to is left if a process ended between here and the end.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(system(&new)(error)),
        _ => std::fs::write(&new, bytes).map_err(system(&new))?,
    }
    // Android 14 and later load no dex file that can be written to.
    let mut permissions = std::fs::metadata(&new).map_err(system(&new))?.permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&new, permissions).map_err(system(&new))?;
    std::fs::rename(&new, &path).map_err(system(&path))?;
    let about = verified.about();
    Ok(vec![about.name.clone(), about.created.seconds().to_string(), path.display().to_string()])
}

/// A program whose Java side has defined the patch's classes.
struct Given {
    env: Environment,
    loader: jobject,
    defined: HashMap<String, jclass>,
}

impl Classes for Given {
    fn find(&self, name: &str) -> Result<jclass, Thrown> {
        initialised(self.env, name, self.loader)
    }

    fn define(&mut self, _names: &[String]) -> Result<(), Thrown> {
        Ok(())
    }

    fn defined(&self, name: &str) -> Result<jclass, Thrown> {
        match self.defined.get(name) {
            Some(class) => Ok(*class),
            // By an earlier patch, in the same loader.
            None => self.find(name),
        }
    }
}

fn read(path: &Path) -> Result<Dex, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    dex::read(&bytes).map_err(|error| text(&error))
}

/// The names of the classes of a patch that are to be defined: an earlier one may have brought the others.
pub(super) fn to_define(path: &Path) -> Result<Vec<String>, String> {
    let dex = read(path)?;
    with(|engine| engine.to_define(&dex))
}

/// Applies a patch whose dex file [`verify`] has written.
pub(super) fn apply(
    env: Environment,
    loader: jobject,
    defined: HashMap<String, jclass>,
    path: &Path,
) -> Result<u32, String> {
    let dex = read(path)?;
    let mut given = Given { env, loader, defined };
    with(|engine| {
        // Of what the Java side was told to define, and nothing that is taken.
        engine.to_define(&dex)?;
        engine.note_defined(&dex, |name| given.defined.contains_key(name));
        engine.apply_patch(env, &dex, &mut given)
    })
    .map(|patch| patch.number)
}
