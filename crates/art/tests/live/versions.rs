//! A program in two versions or more: the first one runs, and patches are made of what comes after it.

use crate::runtime::{Runtime, classes, int_of, int_with, new_object};
use jni_sys::{jclass, jobject};
use livepatch_art::dex::{self, Class, Dex};
use livepatch_art::diff::diff;
use livepatch_art::engine::{Change, Classes, EngineError, MethodName, Patch};
use livepatch_art::host::Loader;
use livepatch_art::jni::{Environment, Receiver, Thrown};
use std::collections::HashMap;
use std::path::PathBuf;

/// A program in a class loader of its own, and the classes that patches have brought.
pub(crate) struct Program {
    env: Environment,
    loader: Loader,
    folder: PathBuf,
    patches: u32,
    defined: HashMap<String, jclass>,
}

impl Classes for Program {
    fn find(&self, name: &str) -> Result<jclass, Thrown> {
        self.loader.class(name, true)
    }

    fn define(&mut self, names: &[String]) -> Result<(), Thrown> {
        let path = self.folder.join(format!("patch{}.dex", self.patches));
        let classes = self.loader.define(&path, names)?;
        self.defined.extend(names.iter().cloned().zip(classes));
        Ok(())
    }

    fn defined(&self, name: &str) -> Result<jclass, Thrown> {
        match self.defined.get(name) {
            Some(class) => Ok(*class),
            None => self.find(name),
        }
    }
}

/// Every class of a text.
pub(crate) fn version(text: &str) -> Dex {
    Dex { version: 35, classes: classes(&format!("\n{text}")) }
}

impl Program {
    /// Has a program run.
    pub(crate) fn start(runtime: &Runtime, program: &Dex) -> Self {
        let path = runtime.folder.join("old.dex");
        std::fs::write(&path, dex::write(program).expect("a dex file")).expect("a file");
        let (env, folder) = (runtime.env, runtime.folder.clone());
        Self { env, loader: runtime.loader(&path), folder, patches: 0, defined: HashMap::new() }
    }

    /// Patches it from one version to another.
    pub(crate) fn patch(&mut self, runtime: &mut Runtime, from: &Dex, to: &Dex) -> u32 {
        self.try_patch(runtime, from, to).expect("a patch").number
    }

    pub(crate) fn try_patch(
        &mut self,
        runtime: &mut Runtime,
        from: &Dex,
        to: &Dex,
    ) -> Result<Patch, EngineError> {
        let difference = diff(std::slice::from_ref(from), std::slice::from_ref(to));
        assert_eq!(difference.refused, []);
        self.apply(runtime, &difference.patch.expect("a patch"))
    }

    /// Applies a patch, however it was made.
    pub(crate) fn apply(&mut self, runtime: &mut Runtime, patch: &Dex) -> Result<Patch, EngineError> {
        let bytes = dex::write(patch).expect("a dex file");
        self.patches += 1;
        let path = self.folder.join(format!("patch{}.dex", self.patches));
        std::fs::write(&path, &bytes).expect("a file");
        let read = dex::read(&bytes).expect("a dex file");
        runtime.engine.apply_patch(runtime.env, &read, self)
    }

    /// Gives a method the body of another one in a class beside it, whatever a comparison would say to that.
    pub(crate) fn replace(
        &mut self,
        runtime: &mut Runtime,
        fix: Vec<Class>,
        classes: [&str; 2],
        method: [&str; 2],
    ) {
        self.try_replace(runtime, fix, classes, method).expect("classes");
    }

    pub(crate) fn try_replace(
        &mut self,
        runtime: &mut Runtime,
        fix: Vec<Class>,
        classes: [&str; 2],
        method: [&str; 2],
    ) -> Result<(), Thrown> {
        let change = self.try_change(runtime, fix, classes, method)?;
        runtime.engine.apply_unchecked(&[change]).expect("a patch");
        Ok(())
    }

    /// A method, and another one in a class beside it that is defined here.
    pub(crate) fn change(
        &mut self,
        runtime: &Runtime,
        fix: Vec<Class>,
        classes: [&str; 2],
        method: [&str; 2],
    ) -> Change {
        self.try_change(runtime, fix, classes, method).expect("classes")
    }

    fn try_change(
        &mut self,
        runtime: &Runtime,
        fix: Vec<Class>,
        [class, fix_class]: [&str; 2],
        [name, signature]: [&str; 2],
    ) -> Result<Change, Thrown> {
        let dex = Dex { version: 39, classes: fix };
        self.patches += 1;
        let path = self.folder.join(format!("patch{}.dex", self.patches));
        std::fs::write(path, dex::write(&dex).expect("a dex file")).expect("a file");
        let names: Vec<String> = dex.classes.iter().map(Class::name).collect();
        self.define(&names)?;
        self.change_of(runtime, class, fix_class, [name, signature])
    }

    /// A method, and the one of the same name of another class of the program.
    pub(crate) fn change_of(
        &self,
        runtime: &Runtime,
        class: &str,
        fix_class: &str,
        [name, signature]: [&str; 2],
    ) -> Result<Change, Thrown> {
        let (target, fix) = (self.find(class)?, self.find(fix_class)?);
        let find = |class| {
            let name =
                |is_static| MethodName { name: name.to_owned(), signature: signature.to_owned(), is_static };
            let found = runtime.engine.method(runtime.env, class, &name(false));
            found.or_else(|_| runtime.engine.method(runtime.env, class, &name(true))).expect("a method")
        };
        Ok(Change { target: find(target), fix: find(fix) })
    }

    /// A class of the program.
    pub(crate) fn class(&self, name: &str) -> jclass {
        self.find(name).expect("a class")
    }

    pub(crate) fn object(&self, class: &str) -> jobject {
        new_object(self.env, self.class(class))
    }

    /// Calls a static method that takes nothing and returns an `int`.
    pub(crate) fn int(&self, class: &str, name: &str) -> Result<i32, Thrown> {
        let class = self.find(class)?;
        let id = self.env.method(class, name, "()I", true)?;
        self.env.call_int(Receiver::Class(class), id, &[])
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
        int_with(self.env, self.find(class)?, (name, signature), with)
    }
}
