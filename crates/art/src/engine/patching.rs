//! Applying a patch as it comes in a file.

use super::lookup::{self, Method, MethodName};
use super::memory::RecordAddress;
use super::{Change, Engine, EngineError, Patch};
use crate::dex::{Class, Dex, FieldRef, Reference, class_name};
use crate::flags::NATIVE;
use crate::jni::{Environment, Thrown};
use crate::layout::Field;
use crate::patch::{Original, Replacement, StandIn, opened, replacements, stand_ins};
use crate::preflight::Refusal;
use crate::record::Way;
use jni_sys::jclass;
use sha2::{Digest as _, Sha256};

/// What a program does for a patch: it alone knows its class loaders.
pub trait Classes {
    /// A class by its name with dots: of the program, or of a patch that was defined.
    fn find(&self, name: &str) -> Result<jclass, Thrown>;

    /// Defines classes of the patch in the program's class loader, in this order: those that replace methods, and those
    /// that are new.
    fn define(&mut self, names: &[String]) -> Result<(), Thrown>;

    /// A class of the patch, as it was defined by this patch or an earlier one.
    fn defined(&self, name: &str) -> Result<jclass, Thrown>;
}

impl Engine {
    /// Which classes of a patch are to be defined: a class loader has one class of a name for good, so those that an
    /// earlier patch brought are used again, if they are the same.
    pub fn to_define(&self, dex: &Dex) -> Result<Vec<String>, EngineError> {
        let mut names = Vec::new();
        for class in &dex.classes {
            match self.brought.get(&class.name()) {
                None => names.push(class.name()),
                Some(digest) if *digest == self::digest(class) => {}
                Some(_) => return Err(EngineError::ClassTaken(class.name())),
            }
        }
        Ok(names)
    }

    /// Notes which classes of a patch are defined, whatever becomes of the patch: nobody can define them again.
    pub(crate) fn note_defined(&mut self, dex: &Dex, is_defined: impl Fn(&str) -> bool) {
        let defined = dex.classes.iter().filter(|class| is_defined(&class.name()));
        self.brought.extend(defined.map(|class| (class.name(), digest(class))));
    }

    /// Replaces all methods that a patch replaces, as one patch.
    pub fn apply_patch(
        &mut self,
        env: Environment,
        dex: &Dex,
        classes: &mut impl Classes,
    ) -> Result<Patch, EngineError> {
        let names = self.to_define(dex)?;
        self.knows_all_methods(env, dex, classes)?;
        // Before anything of the patch is verified: that is when access is checked.
        for field in opened(dex) {
            let opened = env.framed(|| self.open(env, &field, classes));
            opened.map_err(failed(&field.to_string()))??;
        }
        classes.define(&names).map_err(failed("the patch's classes"))?;
        self.note_defined(dex, |class| names.iter().any(|name| name == class));
        self.find_originals(env, dex, classes)?;
        let mut changes = Vec::new();
        for replacement in replacements(dex) {
            let change = env.framed(|| self.change(env, &replacement, classes));
            changes.push(change.map_err(failed(&replacement.class))??);
        }
        self.apply(env, &changes)
    }
}

/// Something was thrown.
fn failed(what: &str) -> impl FnOnce(Thrown) -> EngineError {
    let what = what.to_owned();
    move |thrown| EngineError::Thrown { what, thrown }
}

impl Engine {
    /// Makes a private field accessible.
    fn open(&self, env: Environment, field: &FieldRef, classes: &impl Classes) -> Result<(), EngineError> {
        let class = classes.find(&class_name(&field.class)).map_err(failed(&field.to_string()))?;
        // Copies say that they are of another class; entries leave that as it is.
        let is_as_it_was = |record: &RecordAddress| {
            self.way == Way::Entry || self.live.iter().all(|live| live.target.record != *record)
        };
        let method = lookup::declared(env, class)?.into_iter().find(is_as_it_was);
        let method = method.ok_or_else(|| EngineError::NoRecord(field.to_string()))?;
        let of_class = || self.read(method).get(Field::DeclaringClass).unwrap_or_default() as u32;
        super::fields::open(env, class, of_class, field, self.suspension.as_ref())
    }

    /// A method, and the one that replaces it.
    fn change(
        &self,
        env: Environment,
        replacement: &Replacement,
        classes: &impl Classes,
    ) -> Result<Change, EngineError> {
        let target = classes.find(&replacement.class).map_err(failed(&replacement.class))?;
        let fix = classes.defined(&replacement.fix_class).map_err(failed(&replacement.fix_class))?;
        Ok(Change {
            target: self.method(env, target, &name(replacement, &replacement.method))?,
            fix: self.method(env, fix, &name(replacement, &replacement.fix_method))?,
        })
    }

    /// Whether a patch goes on from what earlier ones have added to classes: that is in classes of theirs, and not where
    /// a later version of the program says it is.
    fn knows_all_methods(
        &self,
        env: Environment,
        dex: &Dex,
        classes: &impl Classes,
    ) -> Result<(), EngineError> {
        if self.added.is_empty() {
            return Ok(());
        }
        let replaced = replacements(dex).into_iter().map(|one| [one.class, one.method, one.signature]);
        let bodies = dex.classes.iter().flat_map(Class::methods).filter_map(|method| method.code.as_ref());
        let called = bodies.flat_map(|code| &code.references).filter_map(|(_, reference)| match reference {
            Reference::Method(method) => {
                Some([class_name(&method.class), method.name.to_string(), method.prototype.to_string()])
            }
            _ => None,
        });
        let of_earlier = |names: &[String; 3]| {
            let same = |added: &&[String; 3]| added[1..] == names[1..];
            self.added.iter().filter(same).any(|added| finds_in(env, dex, classes, &names[0], &added[0]))
        };
        match replaced.chain(called).find(of_earlier) {
            Some([class, name, signature]) => {
                Err(EngineError::AddedBefore(format!("{class}.{name}{signature}")))
            }
            None => Ok(()),
        }
    }

    /// Leads what stands for methods of the program to those, so that their bodies are always those that are live; and
    /// notes which are none of the program's.
    fn find_originals(
        &mut self,
        env: Environment,
        dex: &Dex,
        classes: &impl Classes,
    ) -> Result<(), EngineError> {
        let mut pairs = Vec::new();
        for stand_in in stand_ins(dex) {
            let found = env.framed(|| self.find_original(env, &stand_in, classes));
            match found.map_err(failed(&stand_in.class))?? {
                Some(pair) => pairs.push(pair),
                None => {
                    let Original { class, method, signature, .. } = stand_in.of;
                    self.added.insert([class, method, signature]);
                }
            }
        }
        if self.way == Way::Entry {
            self.make_visible(env, pairs.iter().map(|[stand_in, _]| stand_in))?;
            let entries = self.entries.as_mut().ok_or(EngineError::AnotherWay)?;
            entries.lead_to(&pairs.iter().map(|[_, original]| original.record).collect::<Vec<_>>())?;
            pairs.iter().for_each(|[stand_in, original]| entries.give(stand_in.record, original.record));
        }
        Ok(())
    }

    /// A method that stands for one of the program, and that one; none if the program has no such one.
    fn find_original(
        &self,
        env: Environment,
        stand_in: &StandIn,
        classes: &impl Classes,
    ) -> Result<Option<[Method; 2]>, EngineError> {
        let StandIn { class, method, signature, of } = stand_in;
        let holder = classes.find(&of.class).map_err(failed(class))?;
        let named = |name: &str, signature: &str, is_static| MethodName {
            name: name.to_owned(),
            signature: signature.to_owned(),
            is_static,
        };
        let Ok(original) = self.method(env, holder, &named(&of.method, &of.signature, of.is_static)) else {
            return Ok(None);
        };
        if self.way != Way::Entry && self.read(original.record).flags() & NATIVE != 0 {
            return Err(EngineError::Refused { method: original.to_string(), refusal: Refusal::Native });
        }
        let stand_in = classes.defined(class).map_err(failed(class))?;
        let stand_in = self.method(env, stand_in, &named(method, signature, true))?;
        Ok(Some([stand_in, original]))
    }
}

/// Whether what is looked for in a class is looked for in another one as well: it is that class, or extends it, perhaps
/// by classes of the patch.
fn finds_in(env: Environment, dex: &Dex, classes: &impl Classes, name: &str, other: &str) -> bool {
    let mut name = name.to_owned();
    for _ in 0..=dex.classes.len() {
        if name == other {
            return true;
        }
        match dex.classes.iter().find(|class| class.name() == name).map(|class| &class.superclass) {
            Some(Some(parent)) => name = class_name(parent),
            Some(None) => return false,
            None => {
                let found = classes.find(&name).and_then(|class| Ok((class, classes.find(other)?)));
                return found.is_ok_and(|(class, other)| env.is_subclass(class, other));
            }
        }
    }
    false
}

/// What tells whether two classes are the same, whatever files they are in.
fn digest(class: &Class) -> [u8; 32] {
    let alone = Dex { version: 39, classes: vec![class.clone()] };
    // What cannot be written is in no file.
    Sha256::digest(crate::dex::write(&alone).unwrap_or_default()).into()
}

fn name(replacement: &Replacement, method: &str) -> MethodName {
    let signature = replacement.signature.clone();
    MethodName { name: method.to_owned(), signature, is_static: replacement.is_static }
}
