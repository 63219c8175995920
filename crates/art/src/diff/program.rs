//! A program's classes, over all of its dex files.

use crate::dex::{Class, Dex, Method, MethodRef, Text};
use crate::flags::{PRIVATE, STATIC};
use std::collections::BTreeMap;

pub(super) struct Program<'a> {
    pub(super) classes: BTreeMap<&'a Text, &'a Class>,
}

impl<'a> Program<'a> {
    /// Of two classes of one name the first file's is what a runtime takes.
    pub(super) fn of(files: &'a [Dex]) -> Self {
        let mut classes = BTreeMap::new();
        for class in files.iter().flat_map(|dex| &dex.classes) {
            classes.entry(&class.descriptor).or_insert(class);
        }
        Self { classes }
    }

    /// A method that a class declares itself.
    pub(super) fn declared(&self, reference: &MethodRef) -> Option<&'a Method> {
        self.classes.get(&reference.class)?.method(&reference.name, &reference.prototype)
    }

    /// A field's access flags, where a class or one of its superclasses declares it, and which does.
    pub(super) fn field(&self, reference: &crate::dex::FieldRef) -> Option<(&'a Text, u32)> {
        let mut class = *self.classes.get(&reference.class)?;
        // A chain is never longer than there are classes.
        for _ in 0..=self.classes.len() {
            let found =
                class.fields().find(|field| field.name == reference.name && field.kind == reference.kind);
            if let Some(field) = found {
                return Some((&class.descriptor, field.access));
            }
            class = self.classes.get(class.superclass.as_ref()?)?;
        }
        None
    }

    /// Whether a method would override or implement one: that of a superclass or an interface, or perhaps that of a
    /// class that is not a part of the program.
    pub(super) fn may_override(&self, class: &Class, method: &Method) -> bool {
        if method.access & (PRIVATE | STATIC) != 0 {
            return false;
        }
        let mut to_do: Vec<&Text> = class.superclass.iter().chain(&class.interfaces).collect();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(parent) = to_do.pop() {
            if !seen.insert(parent) {
                continue;
            }
            let Some(parent) = self.classes.get(parent) else {
                if parent.is("Ljava/lang/Object;") && !OF_OBJECT.iter().any(|name| method.name.is(name)) {
                    continue;
                }
                return true;
            };
            if parent.method(&method.name, &method.prototype).is_some() {
                return true;
            }
            to_do.extend(parent.superclass.iter().chain(&parent.interfaces));
        }
        // Or a subclass's is what overrides it: it would be called in its place.
        self.classes.values().any(|other| {
            other.superclass.as_ref() == Some(&class.descriptor)
                && other.method(&method.name, &method.prototype).is_some()
        })
    }
}

/// Methods of `java.lang.Object` that can be overridden.
const OF_OBJECT: [&str; 5] = ["clone", "equals", "finalize", "hashCode", "toString"];
