//! Classes: their definitions, and lists of their members.

use super::{File, WriteError};
use crate::dex::{Class, Field, FieldRef, Method, MethodRef, NO_INDEX, Value, item};

impl File<'_> {
    /// Everything but names.
    pub(super) fn write_classes(&mut self, classes: &[&Class]) -> Result<(), WriteError> {
        let values: Vec<&[Value]> = classes.iter().map(|class| class.static_values.as_slice()).collect();
        let values = self.write_arrays(&values)?;
        let annotations = self.write_annotations(classes)?;
        let debug = self.write_debug(classes)?;
        let bodies = self.write_bodies(classes, &debug)?;
        let data = self.write_data(classes, bodies)?;
        let pool = self.pool;
        let mut at = self.class_defs;
        for (nth, class) in classes.iter().enumerate() {
            let superclass = class.superclass.as_ref().map(|kind| pool.types.index(kind)).transpose()?;
            let source = class.source.as_ref().map(|text| pool.texts.index(text)).transpose()?;
            let words = [
                pool.types.index(&class.descriptor)?,
                class.access,
                superclass.unwrap_or(NO_INDEX),
                self.type_list(&class.interfaces)?,
                source.unwrap_or(NO_INDEX),
                annotations[nth],
                data[nth],
                values[nth],
            ];
            for word in words {
                self.out.patch(at, word);
                at += 4;
            }
        }
        Ok(())
    }

    /// `class_data_item`s: where each class's is, or zero.
    fn write_data(&mut self, classes: &[&Class], bodies: Vec<u32>) -> Result<Vec<u32>, WriteError> {
        let start = self.out.position();
        let mut bodies = bodies.into_iter();
        let (mut offsets, mut count) = (Vec::with_capacity(classes.len()), 0);
        for class in classes {
            let direct: Vec<u32> = bodies.by_ref().take(class.direct_methods.len()).collect();
            let others: Vec<u32> = bodies.by_ref().take(class.virtual_methods.len()).collect();
            let lists = [class.static_fields.len(), class.instance_fields.len(), direct.len(), others.len()];
            if lists == [0; 4] {
                offsets.push(0);
                continue;
            }
            offsets.push(self.out.position());
            count += 1;
            lists.iter().for_each(|count| self.out.uleb128(*count as u32));
            self.write_fields(class, &class.static_fields)?;
            self.write_fields(class, &class.instance_fields)?;
            self.write_methods(class, &class.direct_methods, &direct)?;
            self.write_methods(class, &class.virtual_methods, &others)?;
        }
        self.section(item::CLASS_DATA, count, start)?;
        Ok(offsets)
    }

    fn write_fields(&mut self, class: &Class, fields: &[Field]) -> Result<(), WriteError> {
        let index = |field: &Field| {
            let (class, name, kind) = (class.descriptor.clone(), field.name.clone(), field.kind.clone());
            self.pool.fields.index(&FieldRef { class, name, kind })
        };
        let indexes = fields.iter().map(index).collect::<Result<Vec<_>, _>>()?;
        // Initial values go by their place: sorting here would give them to other fields.
        let mut before = None;
        for (field, index) in fields.iter().zip(indexes) {
            let added = step(before, index, || format!("{}->{}", class.descriptor, field.name))?;
            self.out.uleb128(added);
            self.out.uleb128(field.access);
            before = Some(index);
        }
        Ok(())
    }

    fn write_methods(&mut self, class: &Class, methods: &[Method], bodies: &[u32]) -> Result<(), WriteError> {
        let index = |method: &Method| {
            let (class, name) = (class.descriptor.clone(), method.name.clone());
            self.pool.methods.index(&MethodRef { class, name, prototype: method.prototype.clone() })
        };
        let mut sorted = Vec::with_capacity(methods.len());
        for (method, body) in methods.iter().zip(bodies) {
            sorted.push((index(method)?, method, *body));
        }
        sorted.sort_by_key(|(index, _, _)| *index);
        let mut before = None;
        for (index, method, body) in sorted {
            let added = step(before, index, || format!("{}->{}", class.descriptor, method.name))?;
            self.out.uleb128(added);
            self.out.uleb128(method.access);
            self.out.uleb128(body);
            before = Some(index);
        }
        Ok(())
    }
}

/// What is written for an index: what it adds to the one before.
fn step(before: Option<u32>, index: u32, name: impl Fn() -> String) -> Result<u32, WriteError> {
    match before {
        None => Ok(index),
        Some(before) if before == index => Err(WriteError::Twice(name())),
        Some(before) => {
            let not_sorted = || WriteError::Malformed { what: "the order of fields", of: name() };
            index.checked_sub(before).ok_or_else(not_sorted)
        }
    }
}
