//! Tools of others, each in a process of its own.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// Where Debian's `libsmali-java` puts its archives, and what they need.
const JARS: &str = "/usr/share/java";

#[derive(Clone, Copy)]
pub(crate) enum Tool {
    Smali,
    Dexdump,
}

pub(crate) struct Tools {
    folder: TempDir,
}

/// The tools, or nothing and the reason.
pub(crate) fn skipped(test: &str, needed: Tool) -> Option<Tools> {
    let missing = match needed {
        Tool::Smali if !Path::new(JARS).join("smali.jar").exists() => Some("libsmali-java"),
        Tool::Smali if Command::new("java").arg("-version").output().is_err() => Some("java"),
        Tool::Dexdump if Command::new("dexdump").output().is_err() => Some("dexdump"),
        _ => None,
    };
    match missing {
        Some(missing) => {
            println!("{test} skipped: there is no {missing}");
            None
        }
        None => Some(Tools { folder: TempDir::new().ok()? }),
    }
}

fn run(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output()?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(said(&output.stdout)),
        false => Err(format!("{command:?}: {}\n{}", said(&output.stdout), said(&output.stderr)).into()),
    }
}

impl Tools {
    fn java(&self, archive: &str, main: &str) -> Command {
        let jars = std::fs::read_dir(JARS).into_iter().flatten().flatten();
        let jars = jars.map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            [
                "smali",
                "baksmali",
                "dexlib2",
                "guava",
                "jcommander",
                "antlr3-runtime",
                "stringtemplate",
                "util",
            ]
            .iter()
            .any(|known| name.starts_with(known))
        });
        let own = Path::new(JARS).join(archive);
        let all: Vec<String> =
            std::iter::once(own).chain(jars).map(|path| path.display().to_string()).collect();
        let mut java = Command::new("java");
        java.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", &all.join(":"), main]);
        java
    }

    /// What smali makes of classes.
    pub(crate) fn smali(&self, text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        let (input, out) = (self.folder.path().join("in"), self.folder.path().join("out.dex"));
        let _ = std::fs::remove_dir_all(&input);
        std::fs::create_dir(&input)?;
        let text = format!("\n{text}");
        for (nth, part) in text.split("\n.class ").skip(1).enumerate() {
            std::fs::write(input.join(format!("{nth}.smali")), format!(".class {part}"))?;
        }
        let mut java = self.java("smali.jar", "org.jf.smali.Main");
        run(java.args(["assemble", "--api", "29", "-o"]).arg(&out).arg(&input))?;
        Ok(std::fs::read(&out)?)
    }

    /// All classes of a dex file, by their files' names.
    pub(crate) fn baksmali(&self, dex: &[u8]) -> Result<String, Box<dyn Error>> {
        let (input, out) = (self.folder.path().join("in.dex"), self.folder.path().join("out"));
        let _ = std::fs::remove_dir_all(&out);
        std::fs::write(&input, dex)?;
        let mut java = self.java("baksmali.jar", "org.jf.baksmali.Main");
        run(java.args(["disassemble", "--api", "29", "-o"]).arg(&out).arg(&input))?;
        let mut files: Vec<_> = Vec::new();
        collect(&out, &mut files)?;
        files.sort();
        Ok(files.join("\n"))
    }

    /// What dexdump says: headers, and every instruction.
    pub(crate) fn dexdump(&self, dex: &[u8]) -> Result<String, Box<dyn Error>> {
        let input = self.folder.path().join("in.dex");
        std::fs::write(&input, dex)?;
        run(Command::new("dexdump").args(["-f", "-d"]).arg(&input))
    }
}

fn collect(folder: &Path, files: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => collect(&path, files)?,
            false => files.push(without_numbers(&std::fs::read_to_string(&path)?)),
        }
    }
    Ok(())
}

/// Without the numbers of call sites: they are in the order of a table that has none.
fn without_numbers(text: &str) -> String {
    let mut pieces = text.split("call_site_");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        text + "call_site_" + piece.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}
