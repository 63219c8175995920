//! The large program's modules: the same ones every time.

use std::fmt::Write as _;

/// About 5,000 lines.
const MODULES: usize = 36;

const FLAVOURS: [&str; 7] = [
    include_str!("../../fixtures/bench/large/flavours/regex.rs"),
    include_str!("../../fixtures/bench/large/flavours/chrono.rs"),
    include_str!("../../fixtures/bench/large/flavours/csv.rs"),
    include_str!("../../fixtures/bench/large/flavours/digest.rs"),
    include_str!("../../fixtures/bench/large/flavours/graph.rs"),
    include_str!("../../fixtures/bench/large/flavours/config.rs"),
    include_str!("../../fixtures/bench/large/flavours/tasks.rs"),
];

const THINGS: [&str; 12] = [
    "Order", "Parcel", "Invoice", "Customer", "Shelf", "Route", "Driver", "Sensor", "Ticket", "Account",
    "Meter", "Branch",
];
const QUALITIES: [&str; 3] = ["Plain", "Urgent", "Archived"];

/// Kinds of field: type, an example, and a number that stands for the value.
const FIELDS: [(&str, &str, &str); 6] = [
    ("Vec<u64>", "vec![seed; 3]", "self.FIELD.iter().sum::<u64>()"),
    (
        "Option<String>",
        "(seed % 2 == 0).then(|| format!(\"FIELD {seed}\"))",
        "self.FIELD.as_ref().map_or(0, String::len) as u64",
    ),
    (
        "BTreeMap<String, u64>",
        "BTreeMap::from([(\"FIELD\".to_owned(), seed)])",
        "self.FIELD.values().sum::<u64>()",
    ),
    ("f64", "seed as f64 / 8.0", "self.FIELD as u64"),
    ("bool", "seed % 3 == 0", "u64::from(self.FIELD)"),
    ("(u32, i16)", "(seed as u32, -1)", "u64::from(self.FIELD.0)"),
];

/// A source file: its path under the sources' folder, and its text.
pub(super) type File = (String, String);

/// The modules and the file that declares them.
pub(super) fn large() -> Vec<File> {
    let mut files = Vec::new();
    let (mut modules, mut table, mut routes) = (String::new(), String::new(), String::new());
    for at in 0..MODULES {
        let name = format!("{}{}", QUALITIES[at / THINGS.len()], THINGS[at % THINGS.len()]);
        let snake = format!("{}_{}", QUALITIES[at / THINGS.len()], THINGS[at % THINGS.len()]).to_lowercase();
        let _ = writeln!(modules, "#[path = \"{snake}.rs\"]\npub mod {snake};");
        let _ = writeln!(table, "    (\"{snake}\", {snake}::run),");
        let _ = write!(
            routes,
            "\n        .route(\"/{snake}\", axum::routing::get({snake}::list))\
             \n        .route(\"/{snake}/{{id}}\", axum::routing::get({snake}::one))"
        );
        files.push((format!("{snake}.rs"), module(at, &name, &snake)));
    }
    let app = include_str!("../../fixtures/bench/large/app.rs")
        .replace("{{modules}}", &modules)
        .replace("{{table}}", &table)
        .replace("{{routes}}", &routes);
    files.push(("app.rs".into(), app));
    files
}

fn module(at: usize, name: &str, snake: &str) -> String {
    let mut fields = String::from("    pub id: u64,\n    pub name: String,\n");
    let mut sample = format!("            id: seed,\n            name: format!(\"{snake}{{seed}}\"),\n");
    let mut measure = String::new();
    // Three to six fields; which ones follows from the module's number.
    for n in 0..3 + at % 4 {
        let (kind, example, number) = FIELDS[(at * 5 + n * 7) % FIELDS.len()];
        let field = format!("part_{n}");
        let _ = writeln!(fields, "    pub {field}: {kind},");
        let _ = writeln!(sample, "            {field}: {},", example.replace("FIELD", &field));
        let _ = writeln!(measure, "        sum = sum.wrapping_add({});", number.replace("FIELD", &field));
    }
    include_str!("../../fixtures/bench/large/module.rs")
        .replace("{{fields}}", &fields)
        .replace("{{sample}}", &sample)
        .replace("{{measure}}", &measure)
        .replace("{{flavour}}", FLAVOURS[at % FLAVOURS.len()])
        .replace("{{Name}}", name)
        .replace("{{name}}", snake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_program_is_large_and_always_the_same() {
        let files = large();
        assert_eq!(files, large());
        assert!(files.iter().map(|(_, text)| text.lines().count()).sum::<usize>() > 5000);
        assert!(files.iter().all(|(_, text)| !text.contains("{{N") && !text.contains("{{f")));
    }
}
