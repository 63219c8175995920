//! A demonstration: a program with a bug, its fix as a signed patch, and a record before and after.

use super::{Loader, Setup};
use crate::dex::{self, Dex};
use crate::diff::diff;
use crate::engine::{Classes, Engine, EngineError, Method, MethodName};
use crate::jni::{Environment, Receiver, Thrown};
use crate::patch::{self, About, Certificate, Created, Key, PatchError, Strictness, Unverified};
use crate::record::Record;
use crate::smali;
use jni_sys::{jclass, jobject, jvalue};
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

const OLD: &str = include_str!("../../data/demo-old.smali");
const NEW: &str = include_str!("../../data/demo-new.smali");
/// A key that everyone has. It signs nothing but this demonstration's patch.
const KEY: &str = include_str!("../../data/demo-key.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../data/demo-certificate.pem");

/// Why the demonstration ended.
#[derive(Debug, Error)]
pub enum DemoError {
    /// Its program could not be made.
    #[error("the demonstration's program: {0}")]
    Program(String),
    /// The runtime did not start.
    #[error(transparent)]
    Boot(#[from] super::BootError),
    /// The runtime threw something.
    #[error("the runtime threw {0}")]
    Thrown(#[from] Thrown),
    /// The engine refused something.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The patch could not be written or read.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// Nobody reads what is said, or a file could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn program(text: &str) -> Result<Dex, DemoError> {
    let parts = text.split("\n.class ").skip(1).map(|part| smali::assemble(&format!(".class {part}")));
    let classes = parts.collect::<Result<_, _>>().map_err(|error| DemoError::Program(error.to_string()))?;
    Ok(Dex { version: 35, classes })
}

/// The signed patch from the old version of the program to the new one, and the old one.
fn signed_patch() -> Result<(Vec<u8>, Dex), DemoError> {
    let failed = |error: String| DemoError::Program(error);
    let (old, new) = (program(OLD)?, program(NEW)?);
    let difference = diff(std::slice::from_ref(&old), &[new]);
    let classes = difference.fixes;
    let dex = difference.patch.ok_or_else(|| failed("there is no patch".to_owned()))?;
    let about = About {
        name: "the fee is taken once".to_owned(),
        created: Created::now(),
        from: "demo-new.smali".to_owned(),
        to: "demo-old.smali".to_owned(),
        by: concat!("livepatch ", env!("CARGO_PKG_VERSION")).to_owned(),
        classes,
    };
    let bytes = dex::write(&dex).map_err(|error| failed(error.to_string()))?;
    let key = Key::read(KEY, CERTIFICATE).map_err(PatchError::from)?;
    Ok((patch::write(&about, &[bytes], &key)?, old))
}

/// The program in the runtime.
struct Running {
    env: Environment,
    loader: Loader,
    folder: PathBuf,
    patch: PathBuf,
    defined: HashMap<String, jclass>,
}

impl Classes for Running {
    fn find(&self, name: &str) -> Result<jclass, Thrown> {
        self.loader.class(name, true)
    }

    fn define(&mut self, names: &[String]) -> Result<(), Thrown> {
        let classes = self.loader.define(&self.patch, names)?;
        self.defined.extend(names.iter().cloned().zip(classes));
        Ok(())
    }

    fn defined(&self, name: &str) -> Result<jclass, Thrown> {
        let missing = || Thrown { class: "NoClassDefFoundError".to_owned(), message: name.to_owned() };
        self.defined.get(name).copied().ok_or_else(missing)
    }
}

impl Running {
    /// Account.withdraw(20)
    fn withdraw(&self, account: jobject) -> Result<i32, Thrown> {
        let class = self.env.class_of(account);
        let id = self.env.method(class, "withdraw", "(I)I", false)?;
        self.env.call_int(Receiver::Object(account), id, &[jvalue { i: 20 }])
    }
}

/// Runs it in this process, which has no runtime yet; what happens is written to `out`.
pub fn run(setup: &Setup, folder: &Path, out: &mut impl Write) -> Result<(), DemoError> {
    let (archive, old) = signed_patch()?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map(|()| path)
    };
    let mut classes = old.classes;
    classes.push(super::probe_class().map_err(DemoError::Program)?);
    let app =
        dex::write(&Dex { version: 35, classes }).map_err(|error| DemoError::Program(error.to_string()))?;
    let app = write("app.dex", &app)?;
    let machine = setup.boot()?;
    let env = machine.environment();
    let loader = machine.loader(&app, None)?;
    let probe = loader.class(super::PROBE, true)?;
    let mut engine = Engine::start(env, setup.release(), probe)?;
    let layout = *engine.layout();
    writeln!(
        out,
        "Android {} runs in this process; its records of methods have {} bytes",
        layout.release(),
        layout.size()
    )?;

    let patch = folder.join("patch.dex");
    let mut running = Running { env, loader, folder: folder.to_owned(), patch, defined: HashMap::new() };
    let account_class = running.find("Account")?;
    let constructor = env.method(account_class, "<init>", "()V", false)?;
    let account = env.new_object(account_class, constructor, &[])?;
    let name = MethodName { name: "withdraw".to_owned(), signature: "(I)I".to_owned(), is_static: false };
    let method = engine.method(env, account_class, &name)?;
    writeln!(out, "\nan account of 100; withdraw(20) takes the fee of 1 twice")?;
    writeln!(out, "  withdraw(20) leaves {}", running.withdraw(account)?)?;

    let certificate = Certificate::read(CERTIFICATE).map_err(PatchError::from)?;
    let verified = Unverified::read(&archive.into())?.verify(&certificate, Strictness::Strict)?;
    let (_, bytes) = verified.files().first().ok_or(PatchError::NoDex)?;
    std::fs::write(running.folder.join("patch.dex"), bytes)?;
    let before = engine.record(&method);
    let patch = engine.apply_patch(env, &verified.classes()[0], &mut running)?;
    let about = verified.about();
    writeln!(
        out,
        "\npatch {} is live: \"{}\", signed by {}",
        patch.number,
        about.name,
        &certificate.fingerprint()[..16]
    )?;
    patch.methods.iter().try_for_each(|method| writeln!(out, "  {method}"))?;
    show(out, &method, &before, &engine.record(&method))?;
    writeln!(out, "\nthe fee is a tenth now, and taken once; the account is the same object")?;
    writeln!(out, "  withdraw(20) leaves {}", running.withdraw(account)?)?;

    engine.roll_back(env, patch.number)?;
    writeln!(out, "\nrolled back")?;
    writeln!(out, "  withdraw(20) leaves {}", running.withdraw(account)?)?;
    Ok(())
}

/// A record before and after, field by field.
fn show(out: &mut impl Write, method: &Method, before: &Record, after: &Record) -> io::Result<()> {
    writeln!(out, "\nthe record of {method}, before and after")?;
    for (field, old, new) in before.compare(after, true) {
        let mark = if old == new { ' ' } else { '*' };
        writeln!(out, "{mark} {:<38} {old:#18x} {new:#18x}", field.name())?;
    }
    Ok(())
}
