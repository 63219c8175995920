//! A command as words: the driver's own, and those that it passes on.

use super::Dialect;
use super::options::{Fate, Table, of_driver};
use std::ffi::{OsStr, OsString};

/// A word of the command.
struct Word {
    text: OsString,
    /// Which argument it stands in.
    argument: usize,
    /// Who reads it.
    reader: Reader,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Driver,
    Linker,
    /// `-Xlinker` itself: it goes where the word after it goes.
    Prefix,
}

/// The arguments that stay, and those that do not.
pub(super) fn edit(arguments: &[OsString], dialect: Dialect, table: Table) -> (Vec<OsString>, Vec<OsString>) {
    let mut words = words(arguments, dialect);
    decide(&mut words, Reader::Linker, |word| table.linker.of(word));
    decide(&mut words, Reader::Driver, |word| of_driver(table.driver, word));
    for at in 0..words.len() {
        if words[at].reader == Reader::Prefix {
            words[at].fate = words.get(at + 1).map_or(Fate::Drop, |next| next.fate);
        }
    }
    together(arguments, &words)
}

/// Splits what a driver passes on. A linker's own command is the linker's all the way.
fn words(arguments: &[OsString], dialect: Dialect) -> Vec<Word> {
    let mut words = Vec::new();
    let mut passed_on = false;
    for (argument, text) in arguments.iter().enumerate() {
        let mut push = |text: &OsStr, reader| {
            words.push(Word { text: text.to_owned(), argument, reader, fate: Fate::Keep });
        };
        match text.to_str() {
            _ if !dialect.driver || passed_on => {
                passed_on = false;
                push(text, Reader::Linker);
            }
            Some("-Xlinker") => {
                passed_on = true;
                push(text, Reader::Prefix);
            }
            Some(list) if list.starts_with("-Wl,") => {
                list[4..].split(',').for_each(|part| push(OsStr::new(part), Reader::Linker));
            }
            _ => push(text, Reader::Driver),
        }
    }
    words
}

/// Decides on the words of one reader, whose values may stand in a later argument.
fn decide(words: &mut [Word], reader: Reader, of: impl Fn(&str) -> (usize, Fate)) {
    let mut values: Option<(usize, Fate, usize)> = None;
    for at in 0..words.len() {
        if words[at].reader != reader {
            continue;
        }
        if let Some((left, fate, option)) = values {
            words[at].fate = fate;
            if is_definitions(&words[option].text, &words[at].text) {
                words[at].fate = Fate::Drop;
                words[option].fate = Fate::Drop;
            }
            values = (left > 1).then_some((left - 1, fate, option));
            continue;
        }
        // What is no text is a path.
        let (count, fate) = words[at].text.to_str().map_or((0, Fate::Drop), &of);
        words[at].fate = fate;
        values = (count > 0).then_some((count, fate, at));
    }
}

/// `-z defs`: every symbol must be defined among the inputs. The host's libraries are not among them; what is needed
/// of them the stub object has, and its report says what it has not.
fn is_definitions(option: &OsStr, value: &OsStr) -> bool {
    option == "-z" && value == "defs"
}

/// Puts words together as they were: `-Wl,` lists lose what goes, and go when nothing is left.
fn together(arguments: &[OsString], words: &[Word]) -> (Vec<OsString>, Vec<OsString>) {
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for words in words.chunk_by(|a, b| a.argument == b.argument) {
        let all = &arguments[words[0].argument];
        let stays: Vec<&Word> = words.iter().filter(|word| word.fate == Fate::Keep).collect();
        if stays.len() == words.len() {
            kept.push(all.clone());
            continue;
        }
        if let Some((first, rest)) = stays.split_first() {
            let mut list = OsString::from("-Wl,");
            list.push(&first.text);
            for word in rest {
                list.push(",");
                list.push(&word.text);
            }
            kept.push(list);
        }
        for word in words.iter().filter(|word| word.fate == Fate::Drop) {
            dropped.push(word.text.clone());
        }
    }
    (kept, dropped)
}
