//! Classes and their members.

use super::body::Body;
use super::line::{name_and_prototype, number, quoted, without_comment};
use super::{Said, SmaliError};
use crate::dex::{Annotation, AnnotationContent, Class, Code, Field, Method, Prototype, Text, Value};
use crate::flags::STATIC;

/// The class that a text describes.
pub fn assemble(text: &str) -> Result<Class, SmaliError> {
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        let said = reader.line(without_comment(line));
        said.map_err(|what| SmaliError { line: index + 1, what })?;
    }
    let end = |what: &str| SmaliError { line: text.lines().count(), what: what.to_owned() };
    match (reader.method, reader.class) {
        (Some(_), _) => Err(end("a method that does not end")),
        (None, None) => Err(end("no `.class`")),
        (None, Some(class)) => Ok(sorted(class, reader.values)),
    }
}

/// The body that lines describe, for a method that takes what `prototype` says.
pub fn body(lines: &[impl AsRef<str>], prototype: &Prototype, is_static: bool) -> Result<Code, SmaliError> {
    let mut body = Body::new(prototype, is_static);
    for (index, line) in lines.iter().enumerate() {
        let said = body.line(without_comment(line.as_ref()));
        said.map_err(|what| SmaliError { line: index + 1, what })?;
    }
    body.finish().map_err(|what| SmaliError { line: lines.len(), what })
}

#[derive(Default)]
struct Reader {
    class: Option<Class>,
    /// Initial values of static fields.
    values: Vec<(Text, Value)>,
    method: Option<(Method, Body)>,
    annotation: Option<Annotation>,
    /// Whether annotations are the last field's.
    in_field: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Said<()> {
        if line.is_empty() {
            return Ok(());
        }
        let (first, rest) = line.split_once(' ').map_or((line, ""), |(first, rest)| (first, rest.trim()));
        if self.annotation.is_some() {
            return self.in_annotation(line);
        }
        match (first, rest) {
            (".annotation", rest) => self.annotation = Some(annotation(rest)?),
            (".end", "method") => return self.end_method(),
            (".end", "field") => self.in_field = false,
            _ if self.method.is_some() => {
                let (_, body) = self.method.as_mut().ok_or("no method")?;
                return body.line(line);
            }
            (".class", rest) => {
                let (access, name) = access_and_name(rest)?;
                self.class = Some(Class::new(name.into(), access, None));
            }
            (".super", name) => self.class()?.superclass = Some(name.into()),
            (".implements", name) => self.class()?.interfaces.push(name.into()),
            (".source", text) => self.class()?.source = Some(quoted(text)?.0),
            (".field", rest) => return self.field(rest),
            (".method", rest) => return self.method(rest),
            _ => return Err(format!("`{first}` is not known here")),
        }
        Ok(())
    }

    fn class(&mut self) -> Said<&mut Class> {
        self.class.as_mut().ok_or_else(|| "there is no `.class` before this".to_owned())
    }

    fn field(&mut self, rest: &str) -> Said<()> {
        let (declared, value) = match rest.split_once(" = ") {
            Some((declared, value)) => (declared, Some(value)),
            None => (rest, None),
        };
        let (access, name) = access_and_name(declared)?;
        let (name, kind) = name.split_once(':').ok_or("a field without a type")?;
        if let Some(value) = value {
            self.values.push((name.into(), initial(kind, value)?));
        }
        self.in_field = true;
        let field = Field { name: name.into(), kind: kind.into(), access, annotations: Vec::new() };
        let class = self.class()?;
        match access & STATIC {
            0 => class.instance_fields.push(field),
            _ => class.static_fields.push(field),
        }
        Ok(())
    }

    fn method(&mut self, rest: &str) -> Said<()> {
        self.in_field = false;
        let (access, name) = access_and_name(rest)?;
        let (name, prototype) = name_and_prototype(name)?;
        let body = Body::new(&prototype, access & STATIC != 0);
        let (annotations, parameter_annotations) = (Vec::new(), Vec::new());
        let method = Method { name, prototype, access, code: None, annotations, parameter_annotations };
        self.method = Some((method, body));
        Ok(())
    }

    fn end_method(&mut self) -> Said<()> {
        let (mut method, body) = self.method.take().ok_or("no method ends here")?;
        if !body.is_empty() {
            method.code = Some(body.finish()?);
        }
        let class = self.class()?;
        match method.is_direct() {
            true => class.direct_methods.push(method),
            false => class.virtual_methods.push(method),
        }
        Ok(())
    }

    fn in_annotation(&mut self, line: &str) -> Said<()> {
        if line != ".end annotation" {
            let (name, text) = line.split_once(" = ").ok_or("an element without a value")?;
            let value = match text.as_bytes().first() {
                Some(b'"') => Value::Text(quoted(text)?.0),
                Some(b'L') => Value::Type(text.into()),
                _ => Value::Int(number(text)? as i32),
            };
            let annotation = self.annotation.as_mut().ok_or("no annotation")?;
            annotation.content.elements.push((name.into(), value));
            return Ok(());
        }
        let annotation = self.annotation.take().ok_or("no annotation")?;
        let (in_field, method) = (self.in_field, self.method.as_mut());
        if let Some((method, _)) = method {
            method.annotations.push(annotation);
            return Ok(());
        }
        let class = self.class()?;
        let last = class.static_fields.last_mut().or(class.instance_fields.last_mut());
        match last.filter(|_| in_field) {
            Some(field) => field.annotations.push(annotation),
            None => class.annotations.push(annotation),
        }
        Ok(())
    }
}

/// `runtime Lpackage/Name;`
fn annotation(text: &str) -> Said<Annotation> {
    let (visibility, kind) = text.split_once(' ').ok_or("an annotation without a type")?;
    let visibility = match visibility {
        "build" => 0,
        "runtime" => 1,
        "system" => 2,
        other => return Err(format!("no annotation is for `{other}`")),
    };
    Ok(Annotation { visibility, content: AnnotationContent { kind: kind.into(), elements: Vec::new() } })
}

/// The words before a name, as flags (dex format, "`access_flags` definitions").
fn access_and_name(text: &str) -> Said<(u32, &str)> {
    let (words, name) = text.rsplit_once(' ').unwrap_or(("", text));
    let flags = words.split_whitespace().map(access_flag).sum::<Said<u32>>()?;
    // The same bits mean something else for methods.
    Ok((flags, name))
}

/// The flag of a word.
pub(crate) fn access_flag(word: &str) -> Said<u32> {
    Ok(match word {
        "public" => 0x1,
        "private" => 0x2,
        "protected" => 0x4,
        "static" => 0x8,
        "final" => 0x10,
        "synchronized" => 0x20,
        "volatile" | "bridge" => 0x40,
        "transient" | "varargs" => 0x80,
        "native" => 0x100,
        "interface" => 0x200,
        "abstract" => 0x400,
        "strictfp" => 0x800,
        "synthetic" => 0x1000,
        "annotation" => 0x2000,
        "enum" => 0x4000,
        "constructor" => 0x1_0000,
        "declared-synchronized" => 0x2_0000,
        other => return Err(format!("`{other}` is no access flag")),
    })
}

fn initial(kind: &str, text: &str) -> Said<Value> {
    Ok(match kind {
        "Z" => Value::Boolean(text == "true"),
        "B" => Value::Byte(number(text)? as i8),
        "S" => Value::Short(number(text)? as i16),
        "C" => Value::Char(number(text)? as u16),
        "I" => Value::Int(number(text)? as i32),
        "J" => Value::Long(number(text)?),
        _ if text == "null" => Value::Null,
        "Ljava/lang/String;" => Value::Text(quoted(text)?.0),
        _ => return Err(format!("no initial value of {kind} is known")),
    })
}

/// What a static field without a value begins with.
fn zero(kind: &Text) -> Value {
    match kind.mutf8() {
        b"Z" => Value::Boolean(false),
        b"B" => Value::Byte(0),
        b"S" => Value::Short(0),
        b"C" => Value::Char(0),
        b"I" => Value::Int(0),
        b"J" => Value::Long(0),
        b"F" => Value::Float(0),
        b"D" => Value::Double(0),
        _ => Value::Null,
    }
}

/// Members as files have them; values up to the last field that has one.
fn sorted(mut class: Class, values: Vec<(Text, Value)>) -> Class {
    for fields in [&mut class.static_fields, &mut class.instance_fields] {
        fields.sort_by(|a, b| (&a.name, &a.kind).cmp(&(&b.name, &b.kind)));
    }
    for methods in [&mut class.direct_methods, &mut class.virtual_methods] {
        methods.sort_by(|a, b| (&a.name, &a.prototype).cmp(&(&b.name, &b.prototype)));
    }
    let value = |field: &Field| values.iter().find(|(name, _)| *name == field.name).map(|(_, value)| value);
    let last = class.static_fields.iter().rposition(|field| value(field).is_some());
    let with_values = &class.static_fields[..last.map_or(0, |last| last + 1)];
    let found = |field: &Field| value(field).cloned().unwrap_or_else(|| zero(&field.kind));
    class.static_values = with_values.iter().map(found).collect();
    class
}
