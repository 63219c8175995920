//! The system's package manager with lists of its own, for packages that are unpacked and not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Who signs what Debian's archive has, of which release ever.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The package manager, and where it keeps what it knows. Whatever it takes must be signed as the system asks for.
pub(crate) struct Apt {
    configuration: PathBuf,
    cache: PathBuf,
}

impl Apt {
    /// Of the system's release, for these machines.
    pub(crate) fn of_machines(folder: &Path, machines: &[&str]) -> Result<Self, String> {
        let machines: Vec<String> = machines.iter().map(|name| format!("\"{name}\";")).collect();
        Self::with(folder, &[format!("APT::Architectures {{ {} }};", machines.join(" "))])
    }

    /// Of another release of Debian, from where the system's own comes from.
    pub(crate) fn of_release(folder: &Path, release: &str) -> Result<Self, String> {
        let archive = archive(folder)?;
        let folder = folder.join(release);
        let (list, status) = (folder.join("sources.list"), folder.join("status"));
        let apt = Self::with(
            &folder,
            &[
                format!("Dir::Etc::SourceList \"{}\";", list.display()),
                format!("Dir::Etc::SourceParts \"{}\";", folder.join("none").display()),
                // What is installed is of another release, and would be preferred.
                format!("Dir::State::status \"{}\";", status.display()),
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";".to_owned(),
                "APT::Update::Error-Mode \"any\";".to_owned(),
            ],
        )?;
        write(&list, &format!("deb [signed-by={KEYS}] {archive} {release} main\n"))?;
        write(&status, "")?;
        Ok(apt)
    }

    fn with(folder: &Path, settings: &[String]) -> Result<Self, String> {
        let (lists, cache, configuration) =
            (folder.join("lists"), folder.join("cache"), folder.join("apt.conf"));
        for folder in [lists.join("partial"), cache.join("archives/partial")] {
            std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let own = [
            format!("Dir::State::lists \"{}\";", lists.display()),
            format!("Dir::Cache \"{}\";", cache.display()),
            "Acquire::Languages \"none\";\n".to_owned(),
        ];
        write(&configuration, &[settings, &own].concat().join("\n"))?;
        Ok(Self { configuration, cache })
    }

    /// Runs one of its programs.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        run(command.args(arguments).env("APT_CONFIG", &self.configuration).current_dir(&self.cache))
    }

    /// Fetches packages, and unpacks them into a folder.
    pub(crate) fn unpack<'a>(
        &self,
        packages: impl IntoIterator<Item = &'a str>,
        root: &Path,
    ) -> Result<(), String> {
        let words: Vec<&str> = ["download", "--quiet"].into_iter().chain(packages).collect();
        self.run("apt-get", &words)?;
        let text = |error: std::io::Error| error.to_string();
        std::fs::create_dir_all(root).map_err(text)?;
        for file in std::fs::read_dir(&self.cache).map_err(text)?.flatten().map(|file| file.path()) {
            if file.extension() == Some("deb".as_ref()) {
                run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(root))?;
                std::fs::remove_file(&file).map_err(text)?;
            }
        }
        Ok(())
    }
}

/// Where the system gets Debian's packages from.
fn archive(folder: &Path) -> Result<String, String> {
    let words = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"];
    let known = run(Command::new("apt-get").args(words))?;
    let first = |text: &str| text.lines().next().map(str::to_owned);
    if let Some(archive) = first(&known) {
        return Ok(archive);
    }
    // It has no lists; nor shall it have them because of this.
    let apt = Apt::with(&folder.join("system"), &[])?;
    apt.run("apt-get", &["update", "--quiet"])?;
    let known = apt.run("apt-get", &words)?;
    first(&known).ok_or_else(|| "no source of the system is Debian's archive".to_owned())
}

fn write(path: &Path, contents: &str) -> Result<(), String> {
    std::fs::write(path, contents).map_err(|error| format!("{}: {error}", path.display()))
}

fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}", said.lines().last().unwrap_or("no reason given")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
