//! The settings of a profile that matter to live patching.

use serde_json::Value;
use std::path::Path;

/// A profile's settings, as far as they are set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Link-time optimisation.
    pub lto: Lto,
    /// Whether the linker is told to take the symbol table away.
    pub strips_symbols: bool,
    /// How many codegen units the user asked for.
    pub codegen_units: Option<i64>,
    /// `panic`.
    pub panic: Option<String>,
    /// Whether there is debug information.
    pub debug: bool,
}

/// Link-time optimisation, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lto {
    /// Within crates at most: crates keep their own objects.
    Local,
    /// Across crates: there are no objects of single crates.
    AcrossCrates,
}

impl Profile {
    /// Reads a profile: environment variables over configuration files over the manifest, each
    /// setting from the profile itself or the one it inherits from.
    pub fn read(name: &str, manifest: &Path, config: &Value) -> Self {
        let manifest = std::fs::read_to_string(manifest).unwrap_or_default();
        let manifest: Value = toml::from_str(&manifest).unwrap_or_default();
        let setting = |key: &str| find(name, key, &[config, &manifest], 8);
        let lto = setting("lto").map_or(Lto::Local, |lto| match lto {
            Value::Bool(true) => Lto::AcrossCrates,
            Value::String(text) if text == "thin" || text == "fat" || text == "true" => Lto::AcrossCrates,
            _ => Lto::Local,
        });
        let debug = setting("debug").map_or(is_dev(name, &[config, &manifest], 8), |debug| {
            !(debug == false || debug == 0 || debug == "none" || debug == "0" || debug == "false")
        });
        Self {
            name: name.to_owned(),
            lto,
            strips_symbols: setting("strip").is_some_and(|s| s == true || s == "symbols" || s == "true"),
            codegen_units: setting("codegen-units")
                .and_then(|n| n.as_i64().or_else(|| n.as_str()?.parse().ok())),
            panic: setting("panic").and_then(|panic| panic.as_str().map(str::to_owned)),
            debug,
        }
    }

    /// The environment variable that overrides a setting of this profile.
    pub fn variable(&self, key: &str) -> String {
        variable(&self.name, key)
    }
}

fn variable(profile: &str, key: &str) -> String {
    format!("CARGO_PROFILE_{profile}_{key}").to_uppercase().replace('-', "_")
}

fn table<'a>(name: &str, sources: &[&'a Value]) -> impl Iterator<Item = &'a Value> {
    let tables: Vec<_> = sources.iter().filter_map(|source| source.get("profile")?.get(name)).collect();
    tables.into_iter()
}

/// Manifests are checked for circles by cargo; the depth guards against reading one before it did.
fn find(name: &str, key: &str, sources: &[&Value], depth: usize) -> Option<Value> {
    if let Ok(value) = std::env::var(variable(name, key)) {
        return Some(Value::String(value));
    }
    let own = table(name, sources).find_map(|table| table.get(key)).cloned();
    own.or_else(|| find(&parent(name, sources)?, key, sources, depth.checked_sub(1)?))
}

fn parent(name: &str, sources: &[&Value]) -> Option<String> {
    table(name, sources).find_map(|table| table.get("inherits")?.as_str()).map(str::to_owned)
}

fn is_dev(name: &str, sources: &[&Value], depth: usize) -> bool {
    name == "dev"
        || depth > 0 && parent(name, sources).is_some_and(|parent| is_dev(&parent, sources, depth - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_inherited_and_overridden() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join("Cargo.toml");
        let text = "[profile.release]\nlto = 'thin'\nstrip = true\n[profile.shipped]\ninherits = 'release'\n\
                    codegen-units = 1\ndebug = 1\n[profile.plain]\ninherits = 'dev'\n";
        std::fs::write(&manifest, text).unwrap();
        let shipped = Profile::read("shipped", &manifest, &Value::Null);
        assert_eq!(shipped.lto, Lto::AcrossCrates);
        assert!(shipped.strips_symbols && shipped.debug);
        assert_eq!(shipped.codegen_units, Some(1));
        assert_eq!(shipped.variable("lto"), "CARGO_PROFILE_SHIPPED_LTO");
        let overridden = serde_json::json!({ "profile": { "release": { "lto": "off" } } });
        assert_eq!(Profile::read("shipped", &manifest, &overridden).lto, Lto::Local);
        let plain = Profile::read("plain", &manifest, &Value::Null);
        assert!(plain.debug && plain.lto == Lto::Local);
        assert!(!Profile::read("release", &manifest, &Value::Null).debug);
    }
}
