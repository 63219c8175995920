//! The tables of indexes, and the strings and lists of types that they lead to.

use super::annotations::array;
use super::{File, WriteError};
use crate::dex::{Member, Text, item};

impl File<'_> {
    /// Everything that names are made of.
    pub(super) fn write_tables(&mut self) -> Result<(), WriteError> {
        self.write_texts()?;
        self.write_type_lists()?;
        let pool = self.pool;
        let mut at = self.table(item::TYPE_ID);
        for kind in pool.types.iter() {
            self.out.patch(at, pool.texts.index(kind)?);
            at += 4;
        }
        let mut at = self.table(item::PROTO_ID);
        for prototype in pool.prototypes.iter() {
            let parameters = self.type_list(&prototype.parameters)?;
            self.out.patch(at, pool.texts.index(&prototype.shorty())?);
            self.out.patch(at + 4, pool.types.index(&prototype.returns)?);
            self.out.patch(at + 8, parameters);
            at += 12;
        }
        let mut at = self.table(item::FIELD_ID);
        for field in pool.fields.iter() {
            self.out.patch_u16(at, pool.types.short(&field.class)?);
            self.out.patch_u16(at + 2, pool.types.short(&field.kind)?);
            self.out.patch(at + 4, pool.texts.index(&field.name)?);
            at += 8;
        }
        let mut at = self.table(item::METHOD_ID);
        for method in pool.methods.iter() {
            self.out.patch_u16(at, pool.types.short(&method.class)?);
            self.out.patch_u16(at + 2, pool.prototypes.short(&method.prototype)?);
            self.out.patch(at + 4, pool.texts.index(&method.name)?);
            at += 8;
        }
        self.write_handles()
    }

    fn write_texts(&mut self) -> Result<(), WriteError> {
        let (pool, start) = (self.pool, self.out.position());
        let mut at = self.table(item::STRING_ID);
        for text in pool.texts.iter() {
            let position = self.out.position();
            self.out.patch(at, position);
            at += 4;
            self.out.uleb128(text.units().count() as u32);
            self.out.extend(text.mutf8());
            self.out.u8(0);
        }
        self.section(item::STRING_DATA, pool.texts.len(), start)
    }

    /// Lists of parameters. Those of interfaces are added by [`Self::add_type_list`] before it ends.
    fn write_type_lists(&mut self) -> Result<(), WriteError> {
        self.out.align_to_4();
        let (pool, start) = (self.pool, self.out.position());
        for prototype in pool.prototypes.iter() {
            self.add_type_list(&prototype.parameters)?;
        }
        for interfaces in self.interfaces.clone() {
            self.add_type_list(&interfaces)?;
        }
        self.section(item::TYPE_LIST, self.type_lists.len(), start)
    }

    fn add_type_list(&mut self, kinds: &[Text]) -> Result<(), WriteError> {
        let indexes = self.type_indexes(kinds)?;
        if indexes.is_empty() || self.type_lists.contains_key(&indexes) {
            return Ok(());
        }
        self.out.align_to_4();
        let position = self.out.position();
        self.out.u32(indexes.len() as u32);
        indexes.iter().for_each(|index| self.out.u16(*index));
        self.type_lists.insert(indexes, position);
        Ok(())
    }

    fn type_indexes(&self, kinds: &[Text]) -> Result<Vec<u16>, WriteError> {
        kinds.iter().map(|kind| self.pool.types.short(kind)).collect()
    }

    /// Where a list of types is; zero for an empty one.
    pub(super) fn type_list(&self, kinds: &[Text]) -> Result<u32, WriteError> {
        let indexes = self.type_indexes(kinds)?;
        Ok(self.type_lists.get(&indexes).copied().unwrap_or(0))
    }

    fn write_handles(&mut self) -> Result<(), WriteError> {
        let pool = self.pool;
        let mut at = self.table(item::METHOD_HANDLE);
        for handle in pool.handles.iter() {
            let index = match &handle.member {
                Member::Field(field) => pool.fields.short(field)?,
                Member::Method(method) => pool.methods.short(method)?,
            };
            self.out.patch_u16(at, handle.kind);
            self.out.patch_u16(at + 4, index);
            at += 8;
        }
        Ok(())
    }

    /// Arguments of bootstrap methods, and initial values of static fields: where each is.
    pub(super) fn write_arrays(&mut self, values: &[&[crate::dex::Value]]) -> Result<Vec<u32>, WriteError> {
        let (pool, start) = (self.pool, self.out.position());
        let mut at = self.table(item::CALL_SITE_ID);
        for call_site in &pool.call_sites {
            let position = self.out.position();
            self.out.patch(at, position);
            at += 4;
            array(pool, &mut self.out, call_site)?;
        }
        let mut offsets = Vec::with_capacity(values.len());
        let mut count = pool.call_sites.len();
        for values in values {
            if values.is_empty() {
                offsets.push(0);
                continue;
            }
            offsets.push(self.out.position());
            array(pool, &mut self.out, values)?;
            count += 1;
        }
        self.section(item::ENCODED_ARRAY, count, start)?;
        Ok(offsets)
    }
}
