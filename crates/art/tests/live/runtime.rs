//! A runtime with the program that is patched, in the process of one case.

use jni_sys::{jclass, jobject, jvalue};
use livepatch_art::dex::{self, Class, Dex};
use livepatch_art::engine::{Change, Engine, Method, MethodName};
use livepatch_art::host::{Loader, Machine, Package, Setup, probe_class};
use livepatch_art::jni::{Environment, Receiver, Thrown};
use livepatch_art::record::Way;
use livepatch_art::smali;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The program, and what fixes it.
pub(crate) const APP: &str = include_str!("smali/app.smali");
pub(crate) const FIX: &str = include_str!("smali/fix.smali");

/// Every class of a text.
pub(crate) fn classes(text: &str) -> Vec<Class> {
    let parts = text.split("\n.class ").skip(1);
    parts.map(|part| smali::assemble(&format!(".class {part}")).expect("a class")).collect()
}

/// Writes classes to a dex file.
pub(crate) fn write_dex(folder: &Path, name: &str, classes: Vec<Class>) -> PathBuf {
    let path = folder.join(name);
    let bytes = dex::write(&Dex { version: 39, classes }).expect("a dex file");
    std::fs::write(&path, bytes).expect("a file");
    path
}

pub(crate) struct Runtime {
    machine: Machine,
    pub(crate) env: Environment,
    pub(crate) folder: PathBuf,
    pub(crate) app: Loader,
    pub(crate) engine: Engine,
    /// Classes of the patch, which the program's loader does not find by their names.
    fixes: HashMap<String, jclass>,
}

impl Runtime {
    pub(crate) fn start(version: u32, way: Way, folder: &Path) -> Self {
        let package = Package::of(version).expect("a package");
        let release = package.release();
        let setup = Setup::write(package, folder).expect("a folder");
        // Where everything is interpreted, the engine finds out by itself that entries are of no use. In 14 they are.
        let interprets = way == Way::Fields && version < 14;
        let setup = if interprets { setup.interpret() } else { setup };
        // Calls from native code of a method whose record has another class are stopped where calls are checked.
        let setup = if way == Way::Entry { setup.check_jni() } else { setup };
        let machine = setup.boot().expect("a runtime");
        let env = machine.environment();
        let mut program = classes(APP);
        program.push(probe_class().expect("the probe"));
        let app = machine.loader(&write_dex(folder, "app.dex", program), None).expect("a loader");
        let probe = app.class("livepatch.art.Probe", true).expect("the probe");
        let mut engine = Engine::start(env, release, probe).expect("an engine");
        assert_eq!(engine.way(), if interprets { Way::Fields } else { Way::Entry });
        engine.set_way(way).expect("nothing is live");
        if crate::is_emulated() {
            engine.assume_alone();
        }
        let mut runtime =
            Self { machine, env, folder: folder.to_owned(), app, engine, fixes: HashMap::new() };
        runtime.define("fix.dex", classes(FIX));
        runtime
    }

    /// A class loader beside the program's.
    pub(crate) fn loader(&self, dex: &Path) -> Loader {
        self.machine.loader(dex, None).expect("a loader")
    }

    /// Defines classes of a patch.
    pub(crate) fn define(&mut self, file: &str, classes: Vec<Class>) {
        let names: Vec<String> = classes.iter().map(Class::name).collect();
        let defined = self.app.define(&write_dex(&self.folder, file, classes), &names).expect("classes");
        self.fixes.extend(names.into_iter().zip(defined));
    }

    pub(crate) fn class(&self, name: &str) -> jclass {
        let own = self.fixes.get(name).copied();
        own.unwrap_or_else(|| self.app.class(name, true).expect("a class"))
    }

    pub(crate) fn method(&self, class: &str, name: &str, signature: &str, is_static: bool) -> Method {
        let name = MethodName { name: name.to_owned(), signature: signature.to_owned(), is_static };
        self.engine.method(self.env, self.class(class), &name).expect("a method")
    }

    /// A method of a class gets the one of the same name in the class with `_CF` behind its name.
    pub(crate) fn change(&self, class: &str, name: &str, signature: &str, is_static: bool) -> Change {
        self.change_to(class, name, (&format!("{class}_CF"), name), signature, is_static)
    }

    pub(crate) fn change_to(
        &self,
        class: &str,
        name: &str,
        fix: (&str, &str),
        signature: &str,
        is_static: bool,
    ) -> Change {
        Change {
            target: self.method(class, name, signature, is_static),
            fix: self.method(fix.0, fix.1, signature, is_static),
        }
    }

    pub(crate) fn apply(&mut self, change: Change) -> u32 {
        self.engine.apply(self.env, &[change]).expect("a patch").number
    }

    pub(crate) fn new_object(&self, class: &str) -> jobject {
        new_object(self.env, self.class(class))
    }

    /// Calls a static method that returns an `int`.
    pub(crate) fn int(&self, class: &str, name: &str, arguments: &[i32]) -> Result<i32, Thrown> {
        let signature = format!("({})I", "I".repeat(arguments.len()));
        let arguments: Vec<jvalue> = arguments.iter().map(|i| jvalue { i: *i }).collect();
        let class = self.class(class);
        let id = self.env.method(class, name, &signature, true)?;
        self.env.call_int(Receiver::Class(class), id, &arguments)
    }

    pub(crate) fn int_of(&self, object: jobject, name: &str) -> Result<i32, Thrown> {
        int_of(self.env, object, name)
    }

    pub(crate) fn int_with(
        &self,
        class: &str,
        name: &str,
        signature: &str,
        with: jobject,
    ) -> Result<i32, Thrown> {
        int_with(self.env, self.class(class), (name, signature), with)
    }

    /// Calls a static method that takes nothing and returns a `long`.
    pub(crate) fn long(&self, class: &str, name: &str) -> Result<i64, Thrown> {
        let class = self.class(class);
        let id = self.env.method(class, name, "()J", true)?;
        self.env.call_long(Receiver::Class(class), id, &[])
    }

    /// 4,000 arrays of 64 KiB that nobody keeps, and a collection.
    pub(crate) fn collect(&self) {
        for _ in 0..4000 {
            let array = self.env.byte_array(64 << 10).expect("an array");
            self.env.delete_local(array);
        }
        collect(self.env);
    }
}

/// An object, by the constructor that takes nothing.
pub(crate) fn new_object(env: Environment, class: jclass) -> jobject {
    let constructor = env.method(class, "<init>", "()V", false).expect("a constructor");
    env.new_object(class, constructor, &[]).expect("an object")
}

/// Calls a method of an object that takes nothing and returns an `int`.
pub(crate) fn int_of(env: Environment, object: jobject, name: &str) -> Result<i32, Thrown> {
    let id = env.method(env.class_of(object), name, "()I", false)?;
    env.call_int(Receiver::Object(object), id, &[])
}

/// Calls a static method that takes an object and returns an `int`.
pub(crate) fn int_with(
    env: Environment,
    class: jclass,
    (name, signature): (&str, &str),
    with: jobject,
) -> Result<i32, Thrown> {
    let id = env.method(class, name, signature, true)?;
    env.call_int(Receiver::Class(class), id, &[jvalue { l: with }])
}

/// Has a collection run.
pub(crate) fn collect(env: Environment) {
    let class = env.find_class("dalvik/system/VMRuntime").expect("a class");
    let object = env.allocate(class).expect("an object");
    // 14 only asks for a collection, which its thread for that does; there is none here, and so this thread.
    let is_there = env.method(class, "concurrentGC", "()V", false).is_ok();
    let names: &[&str] = if is_there { &["concurrentGC"] } else { &["requestConcurrentGC", "runHeapTasks"] };
    for name in names {
        let method = env.method(class, name, "()V", false).expect("a method");
        env.call(Receiver::Object(object), method, 'V', &[]).expect("a collection");
    }
}
