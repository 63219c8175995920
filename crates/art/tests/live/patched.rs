//! Patches that are made of two versions of a program, applied to the one that runs.

use crate::Case;
use crate::runtime::{Runtime, classes, write_dex};
use jni_sys::{jclass, jvalue};
use livepatch_art::dex::{self, Dex};
use livepatch_art::diff::diff;
use livepatch_art::engine::Classes;
use livepatch_art::host::Loader;
use livepatch_art::jni::{Receiver, Thrown};
use std::collections::HashMap;
use std::path::PathBuf;

pub(crate) const ALL: &[Case] = &[("patched::two_versions", two_versions)];

const OLD: &str = include_str!("../../data/demo-old.smali");
const NEW: &str = include_str!("../../data/demo-new.smali");

struct Program {
    loader: Loader,
    patch: PathBuf,
    defined: HashMap<String, jclass>,
}

impl Classes for Program {
    fn find(&self, name: &str) -> Result<jclass, Thrown> {
        self.loader.class(name, true)
    }

    fn define(&mut self, names: &[String]) -> Result<(), Thrown> {
        let classes = self.loader.define(&self.patch, names)?;
        self.defined.extend(names.iter().cloned().zip(classes));
        Ok(())
    }

    fn defined(&self, name: &str) -> Result<jclass, Thrown> {
        let missing = || Thrown { class: String::new(), message: name.to_owned() };
        self.defined.get(name).copied().ok_or_else(missing)
    }
}

/// Private fields and methods, methods and a class that are new, handlers and tables behind code that moved.
fn two_versions(runtime: &mut Runtime) {
    let old = Dex { version: 35, classes: classes(OLD) };
    let new = Dex { version: 35, classes: classes(NEW) };
    let difference = diff(std::slice::from_ref(&old), &[new]);
    assert_eq!(difference.refused, []);
    let bytes = dex::write(&difference.patch.expect("a patch")).expect("a dex file");
    let patch = runtime.folder.join("patch.dex");
    std::fs::write(&patch, &bytes).expect("a file");
    let loader = runtime.loader(&write_dex(&runtime.folder, "old.dex", old.classes));
    let mut program = Program { loader, patch, defined: HashMap::new() };

    let env = runtime.env;
    let account = program.find("Account").expect("a class");
    let constructor = env.method(account, "<init>", "()V", false).expect("a constructor");
    let object = env.new_object(account, constructor, &[]).expect("an object");
    let of_object = |name: &str, argument: i32| {
        let id = env.method(account, name, "(I)I", false).expect("a method");
        let value = env.call(Receiver::Object(object), id, 'I', &[jvalue { i: argument }]).expect("a call");
        // SAFETY: an `int` was returned, and this is where that is.
        unsafe { value.i }
    };
    let count = || {
        let id = env.method(account, "count", "()I", true).expect("a method");
        let value = env.call(Receiver::Class(account), id, 'I', &[]).expect("a call");
        // SAFETY: as above.
        unsafe { value.i }
    };
    let all = || [of_object("withdraw", 20), of_object("risky", 0), of_object("kind", 2), count()];
    // 100 less 20, and a fee of 1 twice.
    assert_eq!(all(), [78, -1, 2, -1]);

    let read = dex::read(&bytes).expect("a dex file");
    let number = runtime.engine.apply_patch(env, &read, &mut program).expect("a patch").number;
    // 78 less 20, and a fee of a tenth, because that is rich; the object is the one that was there.
    assert_eq!(all(), [56, -2, 3, 1]);
    runtime.collect();
    assert_eq!(all(), [34, -2, 3, 1]);
    // Poor by now: no fee.
    assert_eq!(of_object("withdraw", 4), 30);

    runtime.engine.roll_back(env, number).expect("the way back");
    assert_eq!(all(), [8, -1, 2, -1]);
}
