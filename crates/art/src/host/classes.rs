//! The classes that the runtime asks for when it starts without an image of Android's own.

use crate::dex::{Annotation, AnnotationContent, Class, Code, Dex, Field, Method, Prototype, Text, Value};
use crate::flags::{ABSTRACT, CONSTRUCTOR, NATIVE, STATIC};
use crate::release::Release;
use crate::smali;
use serde::Deserialize;
use std::sync::Arc;

/// The tables, by the version of Android.
const TABLES: [(u32, &str); 3] = [
    (10, include_str!("../../data/boot-classes-10.json")),
    (11, include_str!("../../data/boot-classes-11.json")),
    (14, include_str!("../../data/boot-classes-14.json")),
];

#[derive(Deserialize)]
struct Table {
    classes: Vec<TableClass>,
}

#[derive(Deserialize)]
struct TableClass {
    name: String,
    access: String,
    #[serde(rename = "super")]
    superclass: Option<String>,
    interfaces: Vec<String>,
    fields: Vec<TableField>,
    static_fields: Vec<TableField>,
    methods: Vec<TableMethod>,
    clinit_smali: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct TableField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    access: String,
}

#[derive(Deserialize)]
struct TableMethod {
    name: String,
    signature: String,
    access: String,
    annotation: Option<String>,
    smali: Option<Vec<String>>,
}

/// The boot classes of a release, if they are known.
pub fn boot_classes(release: Release) -> Result<Dex, String> {
    let is_it = |(version, _): &&(u32, _)| Release::of_version(*version) == Some(release);
    let (_, text) =
        TABLES.iter().find(is_it).ok_or_else(|| format!("no boot classes of Android {release} are known"))?;
    let table: Table = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let classes = table.classes.into_iter().map(class).collect::<Result<_, _>>()?;
    Ok(Dex { version: 39, classes })
}

fn class(table: TableClass) -> Result<Class, String> {
    let superclass = table.superclass.as_deref().map(descriptor);
    let mut class = Class::new(descriptor(&table.name), access(&table.access)?, superclass);
    class.interfaces = table.interfaces.iter().map(|name| descriptor(name)).collect();
    class.instance_fields = fields(table.fields, 0)?;
    class.static_fields = fields(table.static_fields, STATIC)?;
    for method in table.methods {
        add(&mut class, self::method(method, &table.superclass)?);
    }
    if let Some(lines) = table.clinit_smali {
        let (signature, access) = ("()V".to_owned(), "static constructor".to_owned());
        let name = "<clinit>".to_owned();
        let made = TableMethod { name, signature, access, annotation: None, smali: Some(lines) };
        add(&mut class, method(made, &None)?);
    }
    Ok(class)
}

fn add(class: &mut Class, method: Method) {
    match method.is_direct() {
        true => class.direct_methods.push(method),
        false => class.virtual_methods.push(method),
    }
}

fn descriptor(name: &str) -> Text {
    format!("L{name};").as_str().into()
}

fn access(words: &str) -> Result<u32, String> {
    words.split_whitespace().map(smali::access_flag).sum()
}

/// Sorted as in files, without initial values.
fn fields(table: Vec<TableField>, also: u32) -> Result<Vec<Field>, String> {
    let field = |field: TableField| {
        let (name, kind) = (field.name.as_str().into(), field.kind.as_str().into());
        Ok(Field { name, kind, access: access(&field.access)? | also, annotations: Vec::new() })
    };
    let mut fields = table.into_iter().map(field).collect::<Result<Vec<_>, String>>()?;
    fields.sort_by(|a, b| (&a.name, &a.kind).cmp(&(&b.name, &b.kind)));
    Ok(fields)
}

fn method(table: TableMethod, superclass: &Option<String>) -> Result<Method, String> {
    let bad = |what: String| format!("{}{}: {what}", table.name, table.signature);
    let prototype = Prototype::parse(&table.signature).ok_or_else(|| bad("no signature".to_owned()))?;
    let access = access(&table.access)?;
    let code = match &table.smali {
        _ if access & (NATIVE | ABSTRACT) != 0 => None,
        Some(lines) => Some(body(lines, &prototype, access).map_err(bad)?),
        None => Some(body(&nothing(&prototype, access, superclass), &prototype, access).map_err(bad)?),
    };
    let annotations = table.annotation.iter().map(|name| Annotation {
        visibility: 0,
        content: AnnotationContent {
            kind: format!("Ldalvik/annotation/optimization/{name};").as_str().into(),
            elements: Vec::<(Text, Value)>::new(),
        },
    });
    Ok(Method {
        name: table.name.as_str().into(),
        prototype: Arc::new(prototype),
        access,
        code,
        annotations: annotations.collect(),
        parameter_annotations: Vec::new(),
    })
}

fn body(lines: &[String], prototype: &Prototype, access: u32) -> Result<Code, String> {
    smali::body(lines, prototype, access & STATIC != 0).map_err(|error| error.to_string())
}

/// A body that returns zero or null, or calls the superclass's constructor.
fn nothing(prototype: &Prototype, access: u32, superclass: &Option<String>) -> Vec<String> {
    let lines: &[&str] = match prototype.returns.mutf8() {
        b"V" => &[".locals 0", "return-void"],
        b"J" | b"D" => &[".locals 2", "const-wide/16 v0, 0x0", "return-wide v0"],
        [b'L' | b'[', ..] => &[".locals 1", "const/4 v0, 0x0", "return-object v0"],
        _ => &[".locals 1", "const/4 v0, 0x0", "return v0"],
    };
    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    if let Some(superclass) =
        superclass.as_ref().filter(|_| access & CONSTRUCTOR != 0 && access & STATIC == 0)
    {
        lines.insert(1, format!("invoke-direct {{p0}}, L{superclass};-><init>()V"));
    }
    lines
}
