//! Applying a patch as it comes in a file.

use super::lookup::{self, MethodName};
use super::{Change, Engine, EngineError, Patch};
use crate::dex::{Dex, FieldRef};
use crate::jni::{Environment, Thrown};
use crate::layout::Field;
use crate::patch::{Replacement, opened, replacements};
use crate::record::Copy;
use jni_sys::jclass;

/// What a program does for a patch: it alone knows its class loaders.
pub trait Classes {
    /// A class of the program by its name with dots.
    fn find(&self, name: &str) -> Result<jclass, Thrown>;

    /// Defines all classes of the patch in the program's class loader, in this order: those that replace methods, and
    /// those that are new.
    fn define(&mut self, names: &[String]) -> Result<(), Thrown>;

    /// A class of the patch that was defined.
    fn defined(&self, name: &str) -> Result<jclass, Thrown>;
}

impl Engine {
    /// Replaces all methods that a patch replaces, as one patch.
    pub fn apply_patch(
        &mut self,
        env: Environment,
        dex: &Dex,
        classes: &mut impl Classes,
    ) -> Result<Patch, EngineError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |thrown| EngineError::Thrown { what, thrown }
        };
        // Before anything of the patch is verified: that is when access is checked.
        for field in opened(dex) {
            let class = classes.find(&class_name(&field)).map_err(failed(&field.to_string()))?;
            let unknown = || EngineError::NoRecord(field.to_string());
            let method = lookup::declared(env, class)?.into_iter().next().ok_or_else(unknown)?;
            let of_class = self.read(method).get(Field::DeclaringClass).unwrap_or_default() as u32;
            super::fields::open(env, class, of_class, &field)?;
        }
        let names: Vec<String> = dex.classes.iter().map(crate::dex::Class::name).collect();
        classes.define(&names).map_err(failed("the patch's classes"))?;
        let mut changes = Vec::new();
        for replacement in replacements(dex) {
            let target = classes.find(&replacement.class).map_err(failed(&replacement.class))?;
            let fix = classes.defined(&replacement.fix_class).map_err(failed(&replacement.fix_class))?;
            changes.push(Change {
                target: self.method(env, target, &name(&replacement, &replacement.method))?,
                fix: self.method(env, fix, &name(&replacement, &replacement.fix_method))?,
            });
        }
        self.apply(env, &changes, Copy::default())
    }
}

fn name(replacement: &Replacement, method: &str) -> MethodName {
    let signature = replacement.signature.clone();
    MethodName { name: method.to_owned(), signature, is_static: replacement.is_static }
}

fn class_name(field: &FieldRef) -> String {
    crate::dex::Class::new(field.class.clone(), 0, None).name()
}
