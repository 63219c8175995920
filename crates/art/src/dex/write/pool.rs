//! Everything that gets an index, sorted as the format demands.

use super::WriteError;
use crate::dex::{
    Annotation, AnnotationContent, Class, Code, DebugStep, FieldRef, Handle, Member, MethodRef, Prototype,
    Reference, Text, Value,
};
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// A table: entries in the order of their indexes, and indexes by entries.
pub(super) struct Table<T> {
    entries: Vec<T>,
    indexes: HashMap<T, u32>,
    what: &'static str,
}

impl<T: Clone + Eq + Hash> Table<T> {
    /// Of entries in their order, which must not be more than `most`.
    fn new(
        entries: impl IntoIterator<Item = T>,
        most: usize,
        what: &'static str,
    ) -> Result<Self, WriteError> {
        let entries: Vec<T> = entries.into_iter().collect();
        if entries.len() > most {
            return Err(WriteError::TooMany(what));
        }
        let indexes = entries.iter().cloned().zip(0..).collect();
        Ok(Self { entries, indexes, what })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }

    /// An entry's index, which is there: everything was collected first.
    pub(super) fn index(&self, entry: &T) -> Result<u32, WriteError> {
        let malformed = || WriteError::Malformed { what: "a reference", of: self.what.to_owned() };
        self.indexes.get(entry).copied().ok_or_else(malformed)
    }

    /// The same, where 16 bits are all that there is room for.
    pub(super) fn short(&self, entry: &T) -> Result<u16, WriteError> {
        u16::try_from(self.index(entry)?).map_err(|_| WriteError::TooMany(self.what))
    }
}

/// All tables.
pub(super) struct Pool {
    pub(super) texts: Table<Text>,
    pub(super) types: Table<Text>,
    pub(super) prototypes: Table<Prototype>,
    pub(super) fields: Table<FieldRef>,
    pub(super) methods: Table<MethodRef>,
    pub(super) handles: Table<Handle>,
    /// Call sites have no order, and values of theirs none that would sort them.
    pub(super) call_sites: Vec<Vec<Value>>,
}

/// How many entries 16 bits can tell apart.
const MOST: usize = 1 << 16;

impl Pool {
    pub(super) fn of(classes: &[&Class], version: u32) -> Result<Self, WriteError> {
        let mut found = Collected::default();
        classes.iter().for_each(|class| found.class(class));
        let newer = !found.handles.is_empty() || !found.call_sites.is_empty();
        if newer && version < 38 {
            return Err(WriteError::NotInVersion { version, what: "method handles and call sites" });
        }
        Ok(Self {
            texts: Table::new(found.texts, u32::MAX as usize, "strings")?,
            types: Table::new(found.types, MOST, "types")?,
            prototypes: Table::new(found.prototypes, MOST, "prototypes")?,
            fields: Table::new(found.fields, MOST, "fields")?,
            methods: Table::new(found.methods, MOST, "methods")?,
            handles: Table::new(found.handles, MOST, "method handles")?,
            call_sites: found.call_sites,
        })
    }

    /// A call site's index.
    pub(super) fn call_site(&self, values: &[Value]) -> Result<u16, WriteError> {
        let found = self.call_sites.iter().position(|other| other == values);
        found.and_then(|index| u16::try_from(index).ok()).ok_or(WriteError::TooMany("call sites"))
    }
}

#[derive(Default)]
struct Collected {
    texts: BTreeSet<Text>,
    types: BTreeSet<Text>,
    prototypes: BTreeSet<Prototype>,
    fields: BTreeSet<FieldRef>,
    methods: BTreeSet<MethodRef>,
    handles: BTreeSet<Handle>,
    call_sites: Vec<Vec<Value>>,
}

impl Collected {
    fn class(&mut self, class: &Class) {
        self.kind(&class.descriptor);
        class.superclass.iter().chain(&class.interfaces).for_each(|kind| self.kind(kind));
        class.source.iter().for_each(|text| self.text(text));
        self.annotations(&class.annotations);
        for field in class.fields() {
            self.annotations(&field.annotations);
            let (class, name, kind) = (class.descriptor.clone(), field.name.clone(), field.kind.clone());
            self.field(&FieldRef { class, name, kind });
        }
        for method in class.methods() {
            self.annotations(&method.annotations);
            method.parameter_annotations.iter().for_each(|annotations| self.annotations(annotations));
            let (class, name) = (class.descriptor.clone(), method.name.clone());
            self.method(&MethodRef { class, name, prototype: method.prototype.clone() });
            method.code.iter().for_each(|code| self.code(code));
        }
        class.static_values.iter().for_each(|value| self.value(value));
    }

    fn code(&mut self, code: &Code) {
        for (_, reference) in &code.references {
            match reference {
                Reference::Text(text) => self.text(text),
                Reference::Type(kind) => self.kind(kind),
                Reference::Field(field) => self.field(field),
                Reference::Method(method) => self.method(method),
                Reference::Prototype(prototype) => self.prototype(prototype),
                Reference::Handle(handle) => self.handle(handle),
                Reference::CallSite(values) => {
                    values.iter().for_each(|value| self.value(value));
                    if !self.call_sites.contains(values) {
                        self.call_sites.push(values.clone());
                    }
                }
            }
        }
        for kind in code.tries.iter().flat_map(|part| &part.catches) {
            self.kind(&kind.0);
        }
        let Some(debug) = &code.debug else { return };
        debug.parameters.iter().flatten().for_each(|name| self.text(name));
        for step in &debug.program {
            match step {
                DebugStep::StartLocal { name, kind, signature, .. } => {
                    name.iter().chain(signature.iter().flatten()).for_each(|text| self.text(text));
                    kind.iter().for_each(|kind| self.kind(kind));
                }
                DebugStep::File(Some(name)) => self.text(name),
                _ => {}
            }
        }
    }

    fn annotations(&mut self, annotations: &[Annotation]) {
        annotations.iter().for_each(|annotation| self.content(&annotation.content));
    }

    fn content(&mut self, content: &AnnotationContent) {
        self.kind(&content.kind);
        for (name, value) in &content.elements {
            self.text(name);
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Prototype(prototype) => self.prototype(prototype),
            Value::Handle(handle) => self.handle(handle),
            Value::Text(text) => self.text(text),
            Value::Type(kind) => self.kind(kind),
            Value::Field(field) | Value::Enum(field) => self.field(field),
            Value::Method(method) => self.method(method),
            Value::Array(values) => values.iter().for_each(|value| self.value(value)),
            Value::Annotation(content) => self.content(content),
            _ => {}
        }
    }

    fn handle(&mut self, handle: &Handle) {
        match &handle.member {
            Member::Field(field) => self.field(field),
            Member::Method(method) => self.method(method),
        }
        keep(&mut self.handles, handle);
    }

    fn method(&mut self, method: &MethodRef) {
        self.kind(&method.class);
        self.text(&method.name);
        self.prototype(&method.prototype);
        keep(&mut self.methods, method);
    }

    fn field(&mut self, field: &FieldRef) {
        self.kind(&field.class);
        self.kind(&field.kind);
        self.text(&field.name);
        keep(&mut self.fields, field);
    }

    fn prototype(&mut self, prototype: &Prototype) {
        if !self.prototypes.contains(prototype) {
            self.text(&prototype.shorty());
            self.kind(&prototype.returns);
            prototype.parameters.iter().for_each(|kind| self.kind(kind));
            self.prototypes.insert(prototype.clone());
        }
    }

    fn kind(&mut self, kind: &Text) {
        self.text(kind);
        keep(&mut self.types, kind);
    }

    fn text(&mut self, text: &Text) {
        keep(&mut self.texts, text);
    }
}

fn keep<T: Ord + Clone>(set: &mut BTreeSet<T>, entry: &T) {
    if !set.contains(entry) {
        set.insert(entry.clone());
    }
}
