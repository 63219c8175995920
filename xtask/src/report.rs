//! What the measuring chores leave behind: JSON and Markdown under `benches/results`.

use crate::run::{Result, cargo, output, root, target, write};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Writes `<date>-<name>.json` and `<name>.md`.
pub(crate) fn save(name: &str, data: &Value, markdown: &str) -> Result {
    let folder = root().join("benches/results");
    let text = serde_json::to_string_pretty(data).map_err(|error| error.to_string())?;
    let json = folder.join(format!("{}-{name}.json", date()));
    write(&json, &(scrub(&text) + "\n"))?;
    write(&folder.join(format!("{name}.md")), &scrub(markdown))?;
    println!("{}", scrub(markdown));
    eprintln!("written: benches/results/{}-{name}.json, benches/results/{name}.md", date());
    Ok(())
}

/// Today, in UTC.
pub(crate) fn date() -> String {
    output(Command::new("date").args(["-u", "+%F"]))
        .map_or_else(|_| "undated".into(), |d| d.trim().to_owned())
}

/// The machine and the tools, without names.
pub(crate) fn machine() -> Value {
    let said = |program: &str, arguments: &[&str]| {
        output(Command::new(program).args(arguments)).map_or(Value::Null, |text| json!(text.trim()))
    };
    let cpu = field("/proc/cpuinfo", "model name");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cpu": cpu,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": said("uname", &["-r"]).as_str().map(|release| release.split('.').take(2).collect::<Vec<_>>().join(".")),
        "libc": said("getconf", &["GNU_LIBC_VERSION"]),
        "rustc": said("rustc", &["--version"]),
        "cargo": output(cargo().arg("--version")).map_or(Value::Null, |text| json!(text.trim())),
        "linker": said("ld", &["--version"]).as_str().and_then(|text| text.lines().next()),
        "livepatch": output(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root()))
            .map_or(Value::Null, |text| json!(text.trim())),
        "load average at the start": load.split(' ').next(),
    })
}

/// One line on the machine, for people.
pub(crate) fn machine_line(machine: &Value) -> String {
    let text = |name: &str| machine[name].as_str().unwrap_or("?").to_owned();
    format!(
        "{}, {} cores, Linux {}, {}, {}; livepatch {}; load average at the start {}.",
        text("cpu"),
        machine["cores"],
        text("kernel"),
        text("libc"),
        text("rustc"),
        text("livepatch"),
        text("load average at the start")
    )
}

/// The value of the first `name: value` line of a file of the system's.
pub(crate) fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// A Markdown table.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let rule = vec!["---".to_owned(); head.len()];
    let rows = rows.iter().map(|row| row.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>());
    let body: String = rows.map(|row| line(&row)).collect();
    line(&head) + &line(&rule) + &body
}

/// A number to reach, and what was seen.
pub(crate) struct Verdict {
    pub(crate) measure: String,
    pub(crate) reach: &'static str,
    pub(crate) limit: f64,
    pub(crate) seen: f64,
}

impl Verdict {
    pub(crate) fn is_met(&self) -> bool {
        self.seen <= self.limit
    }

    fn row(&self) -> Vec<String> {
        let met = if self.is_met() { "yes" } else { "**no**" };
        vec![self.measure.clone(), self.reach.into(), format!("{:.2}", self.seen), met.into()]
    }
}

/// All numbers to reach, as a table.
pub(crate) fn verdict_table(verdicts: &[Verdict]) -> String {
    let rows: Vec<Vec<String>> = verdicts.iter().map(Verdict::row).collect();
    table(&["measure", "reach", "seen", "met"], &rows)
}

/// Takes this machine's paths out of a text.
fn scrub(text: &str) -> String {
    let target = target().unwrap_or_default();
    let home = std::env::var_os("HOME").unwrap_or_default();
    let places = [(target.as_path(), "<target>"), (&root(), "<root>"), (Path::new(&home), "<home>")];
    places
        .iter()
        .filter(|(path, _)| path.components().count() > 1)
        .fold(text.to_owned(), |text, (path, name)| text.replace(&*path.to_string_lossy(), name))
}
