//! Encoded values and annotations.

use super::bytes::Output;
use super::pool::Pool;
use super::{File, WriteError};
use crate::dex::{Annotation, AnnotationContent, Class, FieldRef, MethodRef, Value, item, value};
use std::collections::HashMap;

/// An `encoded_array`.
pub(super) fn array(pool: &Pool, out: &mut Output, values: &[Value]) -> Result<(), WriteError> {
    out.uleb128(values.len() as u32);
    values.iter().try_for_each(|value| write_value(pool, out, value))
}

/// An `encoded_annotation`: elements are sorted by the indexes of their names.
fn content(pool: &Pool, out: &mut Output, content: &AnnotationContent) -> Result<(), WriteError> {
    out.uleb128(pool.types.index(&content.kind)?);
    let mut elements: Vec<&(_, Value)> = content.elements.iter().collect();
    elements.sort_by(|a, b| a.0.cmp(&b.0));
    out.uleb128(elements.len() as u32);
    for (name, value) in elements {
        out.uleb128(pool.texts.index(name)?);
        write_value(pool, out, value)?;
    }
    Ok(())
}

/// An `encoded_value`, as short as it can be.
fn write_value(pool: &Pool, out: &mut Output, value: &Value) -> Result<(), WriteError> {
    match value {
        Value::Byte(number) => signed(out, value::BYTE, (*number).into()),
        Value::Short(number) => signed(out, value::SHORT, (*number).into()),
        Value::Int(number) => signed(out, value::INT, (*number).into()),
        Value::Long(number) => signed(out, value::LONG, *number),
        Value::Char(number) => unsigned(out, value::CHAR, (*number).into()),
        Value::Float(bits) => fraction(out, value::FLOAT, &bits.to_le_bytes()),
        Value::Double(bits) => fraction(out, value::DOUBLE, &bits.to_le_bytes()),
        Value::Prototype(prototype) => unsigned(out, value::METHOD_TYPE, pool.prototypes.index(prototype)?),
        Value::Handle(handle) => unsigned(out, value::METHOD_HANDLE, pool.handles.index(handle)?),
        Value::Text(text) => unsigned(out, value::STRING, pool.texts.index(text)?),
        Value::Type(kind) => unsigned(out, value::TYPE, pool.types.index(kind)?),
        Value::Field(field) => unsigned(out, value::FIELD, pool.fields.index(field)?),
        Value::Enum(field) => unsigned(out, value::ENUM, pool.fields.index(field)?),
        Value::Method(method) => unsigned(out, value::METHOD, pool.methods.index(method)?),
        Value::Array(values) => {
            out.u8(value::ARRAY);
            array(pool, out, values)?;
        }
        Value::Annotation(annotation) => {
            out.u8(value::ANNOTATION);
            content(pool, out, annotation)?;
        }
        Value::Null => out.u8(value::NULL),
        Value::Boolean(yes) => out.u8(value::BOOLEAN | u8::from(*yes) << 5),
    }
    Ok(())
}

fn head(out: &mut Output, kind: u8, bytes: &[u8]) {
    out.u8(kind | (bytes.len() as u8 - 1) << 5);
    out.extend(bytes);
}

fn signed(out: &mut Output, kind: u8, number: i64) {
    let bytes = number.to_le_bytes();
    let enough = |count: &usize| {
        let unused = 64 - 8 * count;
        (number << unused) >> unused == number
    };
    head(out, kind, &bytes[..(1..8).find(enough).unwrap_or(8)]);
}

fn unsigned(out: &mut Output, kind: u8, number: u32) {
    let count = (4 - number.leading_zeros() as usize / 8).max(1);
    head(out, kind, &number.to_le_bytes()[..count]);
}

/// Zeros at the low end are left out.
fn fraction(out: &mut Output, kind: u8, bytes: &[u8]) {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    head(out, kind, &bytes[zeros.min(bytes.len() - 1)..]);
}

/// Where sets of annotations are, by what is written for them.
#[derive(Default)]
struct Sets {
    items: HashMap<Vec<u8>, u32>,
    sets: HashMap<Vec<u32>, u32>,
}

impl File<'_> {
    /// All annotations of all classes: where each class's directory is, or zero.
    pub(super) fn write_annotations(&mut self, classes: &[&Class]) -> Result<Vec<u32>, WriteError> {
        let mut sets = Sets::default();
        self.write_annotation_items(classes, &mut sets)?;
        self.write_annotation_sets(classes, &mut sets)?;
        let lists = self.write_parameter_lists(classes, &sets)?;
        self.write_directories(classes, &sets, &lists)
    }

    fn write_annotation_items(&mut self, classes: &[&Class], sets: &mut Sets) -> Result<(), WriteError> {
        let start = self.out.position();
        for annotation in classes.iter().flat_map(|class| all_sets(class)).flatten() {
            let bytes = encoded(self.pool, annotation)?;
            let position = self.out.position();
            sets.items.entry(bytes).or_insert_with_key(|bytes| {
                self.out.extend(bytes);
                position
            });
        }
        self.section(item::ANNOTATION, sets.items.len(), start)
    }

    fn write_annotation_sets(&mut self, classes: &[&Class], sets: &mut Sets) -> Result<(), WriteError> {
        self.out.align_to_4();
        let start = self.out.position();
        // A parameter without annotations has an empty set.
        for annotations in classes.iter().flat_map(|class| all_sets(class)) {
            let offsets = self.offsets(annotations, sets)?;
            let position = self.out.position();
            sets.sets.entry(offsets).or_insert_with_key(|offsets| {
                self.out.u32(offsets.len() as u32);
                offsets.iter().for_each(|offset| self.out.u32(*offset));
                position
            });
        }
        self.section(item::ANNOTATION_SET, sets.sets.len(), start)
    }

    /// Where the annotations of a set are, sorted by the indexes of their types.
    fn offsets(&self, annotations: &[Annotation], sets: &Sets) -> Result<Vec<u32>, WriteError> {
        let mut sorted: Vec<&Annotation> = annotations.iter().collect();
        sorted.sort_by(|a, b| a.content.kind.cmp(&b.content.kind));
        let offset = |annotation| {
            let bytes = encoded(self.pool, annotation)?;
            Ok(sets.items.get(&bytes).copied().unwrap_or(0))
        };
        sorted.into_iter().map(offset).collect()
    }

    fn set(&self, annotations: &[Annotation], sets: &Sets) -> Result<u32, WriteError> {
        let offsets = self.offsets(annotations, sets)?;
        Ok(sets.sets.get(&offsets).copied().unwrap_or(0))
    }

    /// Where the lists of methods whose parameters have annotations are.
    fn write_parameter_lists(
        &mut self,
        classes: &[&Class],
        sets: &Sets,
    ) -> Result<HashMap<MethodRef, u32>, WriteError> {
        let start = self.out.position();
        let mut found = HashMap::new();
        for class in classes {
            for method in class.methods().filter(|method| !method.parameter_annotations.is_empty()) {
                let position = self.out.position();
                self.out.u32(method.parameter_annotations.len() as u32);
                for annotations in &method.parameter_annotations {
                    let set = self.set(annotations, sets)?;
                    self.out.u32(set);
                }
                found.insert(method_ref(class, method), position);
            }
        }
        self.section(item::ANNOTATION_SET_REF_LIST, found.len(), start)?;
        Ok(found)
    }

    fn write_directories(
        &mut self,
        classes: &[&Class],
        sets: &Sets,
        lists: &HashMap<MethodRef, u32>,
    ) -> Result<Vec<u32>, WriteError> {
        let (pool, start) = (self.pool, self.out.position());
        let (mut directories, mut count) = (Vec::with_capacity(classes.len()), 0);
        for class in classes {
            let (mut fields, mut methods, mut parameters) = (Vec::new(), Vec::new(), Vec::new());
            for field in class.fields().filter(|field| !field.annotations.is_empty()) {
                let (class, name, kind) = (class.descriptor.clone(), field.name.clone(), field.kind.clone());
                let index = pool.fields.index(&FieldRef { class, name, kind })?;
                fields.push((index, self.set(&field.annotations, sets)?));
            }
            for method in class.methods() {
                let reference = method_ref(class, method);
                if !method.annotations.is_empty() {
                    methods.push((pool.methods.index(&reference)?, self.set(&method.annotations, sets)?));
                }
                if let Some(&list) = lists.get(&reference) {
                    parameters.push((pool.methods.index(&reference)?, list));
                }
            }
            let of_class = if class.annotations.is_empty() { 0 } else { self.set(&class.annotations, sets)? };
            if of_class == 0 && fields.is_empty() && methods.is_empty() && parameters.is_empty() {
                directories.push(0);
                continue;
            }
            directories.push(self.out.position());
            count += 1;
            let counts = [fields.len(), methods.len(), parameters.len()];
            self.out.u32(of_class);
            counts.iter().for_each(|count| self.out.u32(*count as u32));
            for mut list in [fields, methods, parameters] {
                list.sort_unstable();
                for (index, offset) in list {
                    self.out.u32(index);
                    self.out.u32(offset);
                }
            }
        }
        self.section(item::ANNOTATIONS_DIRECTORY, count, start)?;
        Ok(directories)
    }
}

/// An `annotation_item`.
fn encoded(pool: &Pool, annotation: &Annotation) -> Result<Vec<u8>, WriteError> {
    let mut out = Output::default();
    out.u8(annotation.visibility);
    content(pool, &mut out, &annotation.content)?;
    Ok(out.into_bytes())
}

/// Every set of annotations that a class needs; parameters may need an empty one.
fn all_sets(class: &Class) -> impl Iterator<Item = &[Annotation]> {
    let own = std::iter::once(&class.annotations).chain(class.fields().map(|field| &field.annotations));
    let methods = class.methods().map(|method| &method.annotations);
    let parameters = class.methods().flat_map(|method| &method.parameter_annotations);
    let some = own.chain(methods).filter(|annotations| !annotations.is_empty());
    some.chain(parameters).map(Vec::as_slice)
}

fn method_ref(class: &Class, method: &crate::dex::Method) -> MethodRef {
    let (class, name) = (class.descriptor.clone(), method.name.clone());
    MethodRef { class, name, prototype: method.prototype.clone() }
}
