//! Classes and their members (`class_def_item`, `class_data_item`).

use super::annotations::{Directory, array, directory};
use super::bytes::{Cursor, Input};
use super::tables::Tables;
use super::{DexError, code, optional, pick};
use crate::dex::{Class, Field, Method};
use std::sync::Arc;

pub(super) fn read(input: &Input<'_>, tables: &Tables, mut at: Cursor<'_, '_>) -> Result<Class, DexError> {
    let descriptor = pick(&tables.types, at.u32()?, "type")?.clone();
    let access = at.u32()?;
    let superclass = optional(&tables.types, at.u32()?, "type")?.cloned();
    let mut class = Class::new(descriptor, access, superclass);
    if class.descriptor.mutf8().first() != Some(&b'L') {
        return Err(at.malformed());
    }
    class.interfaces = tables.type_list(input, at.u32()?)?;
    class.source = optional(&tables.texts, at.u32()?, "string")?.cloned();
    let mut annotations = directory(input, tables, at.u32()?)?;
    class.annotations = std::mem::take(&mut annotations.class);
    let (data, values) = (at.u32()?, at.u32()?);
    if data != 0 {
        let members = Members { input, tables, annotations };
        members.read(&mut class, input.at("class data", data)?)?;
    }
    if values != 0 {
        class.static_values = array(tables, &mut input.at("initial values", values)?, 0)?;
        if class.static_values.len() > class.static_fields.len() {
            return Err(at.malformed());
        }
    }
    Ok(class)
}

struct Members<'t, 'i> {
    input: &'t Input<'i>,
    tables: &'t Tables,
    annotations: Directory,
}

impl Members<'_, '_> {
    fn read(mut self, class: &mut Class, mut at: Cursor<'_, '_>) -> Result<(), DexError> {
        let counts = [at.uleb128()?, at.uleb128()?, at.uleb128()?, at.uleb128()?];
        class.static_fields = self.fields(class, &mut at, counts[0])?;
        class.instance_fields = self.fields(class, &mut at, counts[1])?;
        class.direct_methods = self.methods(class, &mut at, counts[2])?;
        class.virtual_methods = self.methods(class, &mut at, counts[3])?;
        Ok(())
    }

    fn fields(&mut self, class: &Class, at: &mut Cursor<'_, '_>, count: u32) -> Result<Vec<Field>, DexError> {
        let (mut found, mut index) = (Vec::new(), 0_u32);
        for nth in 0..count {
            index = next(index, nth, at)?;
            let access = at.uleb128()?;
            let field = pick(&self.tables.fields, index, "field")?;
            if field.class != class.descriptor {
                return Err(at.malformed());
            }
            let annotations = self.annotations.fields.remove(&index).unwrap_or_default();
            found.push(Field { name: field.name.clone(), kind: field.kind.clone(), access, annotations });
        }
        Ok(found)
    }

    fn methods(
        &mut self,
        class: &Class,
        at: &mut Cursor<'_, '_>,
        count: u32,
    ) -> Result<Vec<Method>, DexError> {
        let (mut found, mut index) = (Vec::new(), 0_u32);
        for nth in 0..count {
            index = next(index, nth, at)?;
            let access = at.uleb128()?;
            let body = at.uleb128()?;
            let method = pick(&self.tables.methods, index, "method")?;
            if method.class != class.descriptor {
                return Err(at.malformed());
            }
            let code = match body {
                0 => None,
                offset => Some(code::read(self.input, self.tables, offset)?),
            };
            found.push(Method {
                name: method.name.clone(),
                prototype: Arc::clone(&method.prototype),
                access,
                code,
                annotations: self.annotations.methods.remove(&index).unwrap_or_default(),
                parameter_annotations: self.annotations.parameters.remove(&index).unwrap_or_default(),
            });
        }
        Ok(found)
    }
}

/// The index of the next member: the first one is written, the others as what is added, which is never nothing.
fn next(index: u32, nth: u32, at: &mut Cursor<'_, '_>) -> Result<u32, DexError> {
    let added = at.uleb128()?;
    match nth > 0 && added == 0 {
        true => Err(at.malformed()),
        false => index.checked_add(added).ok_or_else(|| at.malformed()),
    }
}
