//! A program's classes, over all of its dex files.

use crate::dex::{Class, Dex, Field, FieldRef, Method, MethodRef, Text};
use crate::flags::{PRIVATE, STATIC, SYNTHETIC};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Program<'a> {
    pub(super) classes: BTreeMap<&'a Text, &'a Class>,
    /// Classes by what they extend.
    subclasses: BTreeMap<&'a Text, Vec<&'a Class>>,
}

impl<'a> Program<'a> {
    /// Of two classes of one name the first file's is what a runtime takes.
    pub(super) fn of(files: &'a [Dex]) -> Self {
        let mut classes = BTreeMap::new();
        for class in files.iter().flat_map(|dex| &dex.classes) {
            classes.entry(&class.descriptor).or_insert(class);
        }
        let mut subclasses: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for class in classes.values() {
            class.superclass.iter().for_each(|parent| subclasses.entry(parent).or_default().push(*class));
        }
        Self { classes, subclasses }
    }

    /// A method that a class declares itself.
    pub(super) fn declared(&self, reference: &MethodRef) -> Option<&'a Method> {
        self.classes.get(&reference.class)?.method(&reference.name, &reference.prototype)
    }

    /// The class in which a method is found that is looked for in another one: that class, or one that it extends. None if
    /// that is not a part of the program.
    pub(super) fn holder(&self, reference: &MethodRef) -> Option<&'a Text> {
        let mut all = self.with_superclasses(&reference.class);
        let found = all.find(|class| class.method(&reference.name, &reference.prototype).is_some())?;
        Some(&found.descriptor)
    }

    /// A class of the program, and what it extends.
    fn with_superclasses(&self, name: &Text) -> impl Iterator<Item = &'a Class> {
        let class = self.classes.get(name).copied();
        class.into_iter().flat_map(|class| std::iter::once(class).chain(self.superclasses(class)))
    }

    /// What a class extends, as far as it is a part of the program.
    fn superclasses(&self, class: &Class) -> impl Iterator<Item = &'a Class> {
        let parent = |class: &Class| self.classes.get(class.superclass.as_ref()?).copied();
        // A chain is never longer than there are classes.
        std::iter::successors(parent(class), move |class| parent(class)).take(self.classes.len())
    }

    /// A field's access flags, where a class or one of its superclasses declares it, and which does.
    pub(super) fn field(&self, reference: &FieldRef) -> Option<(&'a Text, u32)> {
        self.with_superclasses(&reference.class).find_map(|class| {
            let is_it = |field: &&Field| field.name == reference.name && field.kind == reference.kind;
            class.fields().find(is_it).map(|field| (&class.descriptor, field.access))
        })
    }

    /// Whether a method is called, or would be, where another one is meant that it overrides, implements or hides: that
    /// of a superclass or an interface, or perhaps that of a class that is not a part of the program.
    pub(super) fn may_override(&self, class: &Class, method: &Method) -> bool {
        if is_accessor(method) {
            return false;
        }
        if method.access & (PRIVATE | STATIC) != 0 {
            let same = |parent: &Class| parent.method(&method.name, &method.prototype).map(|one| one.access);
            return self.superclasses(class).filter_map(same).any(|access| access & PRIVATE == 0);
        }
        let is_one = |parent: Parent<'_>| match parent {
            Parent::Known(parent) => parent.method(&method.name, &method.prototype).is_some(),
            Parent::Unknown(parent) => {
                !parent.is("Ljava/lang/Object;") || OF_OBJECT.iter().any(|name| method.name.is(name))
            }
        };
        self.has_parent(class.superclass.iter().chain(&class.interfaces), is_one)
    }

    /// Whether one of these, or of what they extend or implement, is such a one.
    fn has_parent<'t>(
        &self,
        first: impl Iterator<Item = &'t Text>,
        is_one: impl Fn(Parent<'_>) -> bool,
    ) -> bool
    where
        'a: 't,
    {
        let mut to_do: Vec<&Text> = first.collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = to_do.pop() {
            if !seen.insert(name) {
                continue;
            }
            let parent = self.classes.get(name).copied();
            if is_one(parent.map_or(Parent::Unknown(name), Parent::Known)) {
                return true;
            }
            to_do.extend(parent.iter().flat_map(|parent| parent.superclass.iter().chain(&parent.interfaces)));
        }
        false
    }

    /// Whether a method would be overridden or hidden: a class that extends its class has one, or gets one from an
    /// interface.
    pub(super) fn may_be_overridden(&self, class: &Class, method: &Method) -> bool {
        if method.access & PRIVATE != 0 || is_accessor(method) {
            return false;
        }
        let is_one = |other: &Class| other.method(&method.name, &method.prototype).is_some();
        let mut to_do = vec![&class.descriptor];
        let mut seen = BTreeSet::new();
        while let Some(name) = to_do.pop() {
            for other in self.subclasses.get(name).into_iter().flatten() {
                let of_interface = |parent: Parent<'_>| matches!(parent, Parent::Known(one) if is_one(one));
                if is_one(other) || self.has_parent(other.interfaces.iter(), of_interface) {
                    return true;
                }
                if seen.insert(&other.descriptor) {
                    to_do.push(&other.descriptor);
                }
            }
        }
        false
    }
}

/// Whether a method is one that compilers make for other classes (`access$000`): those name its class, and superclasses
/// have others of the same name.
fn is_accessor(method: &Method) -> bool {
    method.access & (STATIC | SYNTHETIC) == STATIC | SYNTHETIC
}

/// What a class extends or implements.
enum Parent<'t> {
    /// A part of the program.
    Known(&'t Class),
    /// Something else.
    Unknown(&'t Text),
}

/// Methods of `java.lang.Object` that can be overridden.
const OF_OBJECT: [&str; 5] = ["clone", "equals", "finalize", "hashCode", "toString"];
