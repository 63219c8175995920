//! How long replacing takes, and comparing: for `cargo xtask bench art`. Prints one JSON object: samples in
//! microseconds, by what was measured.

use jni_sys::jvalue;
use livepatch_art::dex::{self, Class, Dex};
use livepatch_art::diff::diff;
use livepatch_art::engine::{Change, Engine, MethodName};
use livepatch_art::host::{PROBE, Package, Setup, probe_class};
use livepatch_art::jni::Receiver;
use livepatch_art::record::Way;
use livepatch_art::smali;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

type Samples = BTreeMap<String, Vec<f64>>;

/// Classes and methods of the files that are compared: 12,000 methods.
const CLASSES: usize = 200;
const METHODS: usize = 60;
/// Methods of a patch.
const AT_ONCE: usize = 100;
/// Calls from Java of one method.
const CALLS: i32 = 10_000;
const FOLDER: &str = "ANDROID_ROOT";

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(21);
    if let Some(folder) = std::env::var_os(FOLDER) {
        return in_runtime(&PathBuf::from(folder), rounds);
    }
    let mut samples = files(rounds)?;
    match Package::of(11) {
        Ok(package) => samples.extend(in_process(package, rounds)?),
        Err(why) => eprintln!("without a runtime: {why}"),
    }
    println!("{}", serde_json::to_string(&samples)?);
    Ok(())
}

/// A class of static methods, each with a constant, a call and some arithmetic; and one that calls the first of them.
fn class(name: &str, methods: usize, added: usize) -> Result<Class, Box<dyn Error>> {
    let mut text = format!(".class public L{name};\n.super Ljava/lang/Object;\n");
    for method in 0..methods {
        text.push_str(&format!(
            ".method public static m{method}(I)I\n.registers 3\nconst-string v0, \"{name}.{method}\"\n\
             add-int/lit8 v1, p0, {}\nreturn v1\n.end method\n",
            (method + added) % 100
        ));
    }
    text.push_str(&format!(
        ".method public static loop(I)I\n.registers 2\n:again\nif-lez p0, :end\ninvoke-static {{p0}}, L{name};->m0(I)I\n\
         add-int/lit8 p0, p0, -1\ngoto :again\n:end\nreturn p0\n.end method\n"
    ));
    Ok(smali::assemble(&text)?)
}

fn timed<T>(samples: &mut Samples, what: &str, something: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = something();
    samples.entry(what.to_owned()).or_default().push(start.elapsed().as_secs_f64() * 1e6);
    result
}

/// Reading, comparing and writing.
fn files(rounds: usize) -> Result<Samples, Box<dyn Error>> {
    let classes = (0..CLASSES).map(|nth| class(&format!("C{nth}"), METHODS, 0)).collect::<Result<_, _>>()?;
    let mut program = Dex { version: 35, classes };
    let old = dex::write(&program)?;
    program.classes[77] = class("C77", METHODS, 1)?;
    let new = dex::write(&program)?;
    let mut samples = Samples::new();
    for _ in 0..rounds {
        let [first, second] = timed(&mut samples, "read both files", || [dex::read(&old), dex::read(&new)]);
        let (first, second) = (first?, second?);
        let found = timed(&mut samples, "compare them", || diff(&[first], std::slice::from_ref(&second)));
        assert_eq!(found.changed.len(), METHODS);
        timed(&mut samples, "write one of them", || dex::write(&second))?;
    }
    Ok(samples)
}

/// In a process of its own.
fn in_process(package: Package, rounds: usize) -> Result<Samples, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let setup = Setup::write(package, folder.path())?;
    let output = setup.command(&std::env::current_exe()?).arg(rounds.to_string()).output()?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

/// Replacing and taking back, one method and a hundred at once.
fn in_runtime(folder: &Path, rounds: usize) -> Result<(), Box<dyn Error>> {
    let mut samples = Samples::new();
    let setup = Setup::write(Package::of(11)?, folder)?;
    let machine = timed(&mut samples, "start the runtime", || setup.boot())?;
    let env = machine.environment();
    // One method more than is replaced, from which the class is taken on the way back.
    let classes = vec![class("App", AT_ONCE + 1, 0)?, class("App_CF", AT_ONCE + 1, 1)?, probe_class()?];
    let path = folder.join("app.dex");
    std::fs::write(&path, dex::write(&Dex { version: 35, classes })?)?;
    let loader = machine.loader(&path, None)?;
    let mut engine = Engine::start(env, setup.release(), loader.class(PROBE, true)?)?;
    let (target, fix) = (loader.class("App", true)?, loader.class("App_CF", true)?);
    let mut changes = Vec::new();
    for nth in 0..AT_ONCE {
        let name = MethodName { name: format!("m{nth}"), signature: "(I)I".to_owned(), is_static: true };
        changes.push(Change {
            target: engine.method(env, target, &name)?,
            fix: engine.method(env, fix, &name)?,
        });
    }
    let caller = env.method(target, "loop", "(I)I", true)?;
    let call = |samples: &mut Samples, what: &str| {
        let arguments = [jvalue { i: CALLS }];
        timed(samples, what, || env.call_int(Receiver::Class(target), caller, &arguments))
    };
    for _ in 0..rounds {
        call(&mut samples, "10,000 calls of what it was")?;
        for (way, by) in [(Way::Entry, "entry"), (Way::Fields, "copy")] {
            engine.set_way(way)?;
            for (count, what) in [(1, "one method"), (AT_ONCE, "100 methods at once")] {
                let changes = &changes[..count];
                let replaced =
                    timed(&mut samples, &format!("by {by}: replace {what}"), || engine.apply(env, changes))?;
                if count == 1 {
                    call(&mut samples, &format!("by {by}: 10,000 calls"))?;
                }
                timed(&mut samples, &format!("by {by}: roll back {what}"), || {
                    engine.roll_back(env, replaced.number)
                })?;
            }
        }
    }
    println!("{}", serde_json::to_string(&samples)?);
    Ok(())
}
