//! Which classes and methods are different, and what about them no patch can bring.

use super::findings::{Finding, Reason};
use super::program::Program;
use crate::dex::{Class, Field, Method, MethodRef, Text, Value, class_name};
use crate::flags::{ABSTRACT, CONSTRUCTOR, DECLARED_SYNCHRONIZED, INTERFACE, NATIVE, STATIC, SYNCHRONIZED};
use crate::preflight::{self, Described};
use crate::record::Way;
use crate::release::Release;
use std::collections::BTreeMap;

/// Flags of a class that decide what it is.
const OF_CLASSES: u32 = 0x0001 | 0x0010 | 0x0200 | 0x0400 | 0x2000 | 0x4000;

/// What is different.
pub(super) struct Comparison<'a> {
    /// Classes that are new.
    pub(super) added: Vec<&'a Class>,
    /// Methods that changed, by their classes.
    pub(super) changed: BTreeMap<&'a Text, Vec<&'a Method>>,
    /// Methods that are new in classes that are not.
    pub(super) new_methods: BTreeMap<&'a Text, Vec<&'a Method>>,
    pub(super) refused: Vec<Finding>,
    pub(super) notes: Vec<Finding>,
}

impl<'a> Comparison<'a> {
    pub(super) fn of(old: &Program<'a>, new: &Program<'a>) -> Self {
        let mut found = Self {
            added: Vec::new(),
            changed: BTreeMap::new(),
            new_methods: BTreeMap::new(),
            refused: Vec::new(),
            notes: Vec::new(),
        };
        for (name, class) in &new.classes {
            match old.classes.get(name) {
                None => found.added.push(class),
                Some(before) => found.class(new, before, class),
            }
        }
        for (name, class) in &old.classes {
            if !new.classes.contains_key(name) {
                found.notes.push(Finding { place: class.name(), reason: Reason::Removed });
            }
        }
        found
    }

    /// The full names of methods that changed.
    pub(super) fn changed_names(&self) -> Vec<String> {
        let name = |class: &Text, method: &Method| full_name(class, method);
        let all =
            self.changed.iter().flat_map(|(class, methods)| methods.iter().map(|method| name(class, method)));
        all.collect()
    }

    /// Whether a method is new in a class that is not.
    pub(super) fn is_new(&self, reference: &MethodRef) -> bool {
        let methods = self.new_methods.get(&reference.class);
        let is_it =
            |method: &&Method| method.name == reference.name && method.prototype == reference.prototype;
        methods.is_some_and(|methods| methods.iter().any(is_it))
    }

    fn refuse(&mut self, place: String, reason: Reason) {
        self.refused.push(Finding { place, reason });
    }

    fn class(&mut self, program: &Program<'a>, old: &'a Class, new: &'a Class) {
        if (&old.superclass, &old.interfaces) != (&new.superclass, &new.interfaces) {
            self.refuse(new.name(), Reason::Parents);
        }
        if old.access & OF_CLASSES != new.access & OF_CLASSES {
            self.refuse(new.name(), Reason::Access);
        }
        self.fields(new, &old.instance_fields, &new.instance_fields, Reason::FieldAdded);
        self.fields(new, &old.static_fields, &new.static_fields, Reason::StaticFieldAdded);
        self.values(old, new);
        for method in new.methods() {
            match old.method(&method.name, &method.prototype) {
                None => self.new_method(program, new, method),
                Some(before) => self.method(new, before, method),
            }
        }
        for method in old.methods().filter(|method| new.method(&method.name, &method.prototype).is_none()) {
            let place = full_name(&old.descriptor, method);
            match program.may_override(new, method) {
                true => self.refuse(place, Reason::OverrideRemoved),
                false => self.notes.push(Finding { place, reason: Reason::Removed }),
            }
        }
    }

    fn fields(&mut self, class: &Class, old: &[Field], new: &[Field], added: Reason) {
        let same = |a: &Field, b: &Field| a.name == b.name && a.kind == b.kind;
        for field in new {
            let place = || format!("{}.{}", class.name(), field.name);
            match old.iter().find(|before| same(before, field)) {
                None => self.refuse(place(), added.clone()),
                Some(before) if before.access & 0xffff != field.access & 0xffff => {
                    self.refuse(place(), Reason::Access);
                }
                Some(_) => {}
            }
        }
        for field in old.iter().filter(|field| !new.iter().any(|after| same(after, field))) {
            let place = format!("{}.{}", class.name(), field.name);
            self.notes.push(Finding { place, reason: Reason::Removed });
        }
    }

    /// Initial values that are in the file, and not in a body.
    fn values(&mut self, old: &Class, new: &Class) {
        let value = |class: &Class, name: &Text| -> Option<Value> {
            let index = class.static_fields.iter().position(|field| field.name == *name)?;
            class.static_values.get(index).filter(|value| !is_zero(value)).cloned()
        };
        for field in &new.static_fields {
            let is_old = old.static_fields.iter().any(|before| before.name == field.name);
            if is_old && value(old, &field.name) != value(new, &field.name) {
                self.refuse(format!("{}.{}", new.name(), field.name), Reason::InitialValue);
            }
        }
    }

    fn method(&mut self, class: &'a Class, old: &'a Method, new: &'a Method) {
        let place = || full_name(&class.descriptor, new);
        let synchronized = SYNCHRONIZED | DECLARED_SYNCHRONIZED;
        if (old.access ^ new.access) & !synchronized & 0x1_ffff != 0 {
            return self.refuse(place(), Reason::Access);
        }
        let same = match (&old.code, &new.code) {
            (Some(old), Some(new)) => old.does_the_same_as(new),
            (None, None) => true,
            _ => false,
        };
        if same && (old.access ^ new.access) & synchronized == 0 {
            return;
        }
        let described = |method: &Method| Described {
            class: class.name(),
            name: method.name.to_string(),
            signature: method.prototype.to_string(),
            flags: method.access,
        };
        let in_interface = class.access & INTERFACE != 0;
        let (old, new_one) = (described(old), described(new));
        match preflight::check(&old, &new_one, in_interface, Release::LAST, Way::Entry) {
            Ok(()) => self.changed.entry(&class.descriptor).or_default().push(new),
            Err(refusal) => self.refuse(place(), refusal.into()),
        }
    }

    fn new_method(&mut self, program: &Program<'a>, class: &'a Class, method: &'a Method) {
        let place = full_name(&class.descriptor, method);
        if method.access & CONSTRUCTOR != 0 {
            let is_initialiser = method.access & STATIC != 0;
            let reason = match is_initialiser {
                true => preflight::Refusal::ClassInitialiser.into(),
                false => Reason::ConstructorAdded,
            };
            self.refuse(place, reason);
        } else if method.access & NATIVE != 0 {
            self.refuse(place, preflight::Refusal::Native.into());
        } else if class.access & INTERFACE != 0 && method.access & STATIC == 0
            || method.access & ABSTRACT != 0
        {
            self.refuse(place, Reason::InterfaceMethodAdded);
        } else if program.may_override(class, method) || program.may_be_overridden(class, method) {
            self.refuse(place, Reason::Overrides);
        } else {
            self.new_methods.entry(&class.descriptor).or_default().push(method);
        }
    }
}

/// A method's class, name and signature.
pub(super) fn full_name(class: &Text, method: &Method) -> String {
    format!("{}.{}{}", class_name(class), method.name, method.prototype)
}

/// What fields begin with that have no value in the file.
fn is_zero(value: &Value) -> bool {
    matches!(
        value,
        Value::Null
            | Value::Boolean(false)
            | Value::Byte(0)
            | Value::Short(0)
            | Value::Char(0)
            | Value::Int(0)
            | Value::Long(0)
            | Value::Float(0)
            | Value::Double(0)
    )
}
