//! FAIR pools, and the files that describe them.

use super::{Conf, Value, keys, load, xml};
use crate::{Error, Result};
use std::{collections::BTreeMap, path::Path};

/// Who goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SchedulingMode {
    /// The oldest job; within it the oldest stage.
    #[default]
    Fifo,
    /// Whoever is furthest below its fair share.
    Fair,
}

impl Value for SchedulingMode {
    const KIND: &'static str = "FIFO or FAIR";

    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_uppercase().as_str() {
            "FIFO" => Ok(SchedulingMode::Fifo),
            "FAIR" => Ok(SchedulingMode::Fair),
            _ => Err(Self::KIND.into()),
        }
    }
}

/// A FAIR pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolConfig {
    /// `schedulingMode`: between the jobs of the pool.
    pub mode: SchedulingMode,
    /// `weight`: its share relative to other pools. At least 1.
    pub weight: u32,
    /// `minShare`: slots that it gets before others get more than theirs.
    pub min_share: u32,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig { mode: SchedulingMode::Fifo, weight: 1, min_share: 0 }
    }
}

impl PoolConfig {
    /// Reads the pools of a file in Spark's form, by name:
    ///
    /// ```
    /// use firesteel_model::conf::{PoolConfig, SchedulingMode};
    /// let pools = PoolConfig::parse_all(
    ///     r#"<?xml version="1.0"?>
    ///     <allocations>
    ///       <pool name="production"><schedulingMode>FAIR</schedulingMode><weight>2</weight><minShare>3</minShare></pool>
    ///       <pool name="test"/>
    ///     </allocations>"#,
    /// )?;
    /// assert_eq!(pools["production"], PoolConfig { mode: SchedulingMode::Fair, weight: 2, min_share: 3 });
    /// assert_eq!(pools["test"], PoolConfig::default());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong, with the line or the pool.
    pub fn parse_all(text: &str) -> Result<BTreeMap<String, PoolConfig>, String> {
        let root = xml::parse(text)?;
        if root.name != "allocations" {
            return Err(format!("the outermost element is <{}>, not <allocations>", root.name));
        }
        let mut pools = BTreeMap::new();
        for element in &root.children {
            if element.name != "pool" {
                return Err(format!("<allocations> holds <{}>; it may hold <pool name=\"..\"> only", element.name));
            }
            let name = element.attribute("name").filter(|name| !name.is_empty()).ok_or("a <pool> has no name")?;
            let pool = PoolConfig::read(element).map_err(|problem| format!("pool {name}: {problem}"))?;
            if pools.insert(name.to_owned(), pool).is_some() {
                return Err(format!("pool {name} is described twice"));
            }
        }
        Ok(pools)
    }

    fn read(element: &xml::Element) -> Result<Self, String> {
        fn setting<T: Value>(element: &xml::Element, name: &str, default: T) -> Result<T, String> {
            let Some(setting) = element.child(name) else { return Ok(default) };
            T::parse(&setting.text).map_err(|wanted| format!("<{name}> \"{}\" is not {wanted}", setting.text))
        }
        const SETTINGS: [&str; 3] = ["schedulingMode", "weight", "minShare"];
        if let Some(other) = element.children.iter().find(|child| !SETTINGS.contains(&&*child.name)) {
            return Err(format!("<{}> is none of <schedulingMode>, <weight> and <minShare>", other.name));
        }
        let default = PoolConfig::default();
        let pool = PoolConfig {
            mode: setting(element, "schedulingMode", default.mode)?,
            weight: setting(element, "weight", default.weight)?,
            min_share: setting(element, "minShare", default.min_share)?,
        };
        if pool.weight == 0 { Err("<weight> \"0\" is not at least 1".into()) } else { Ok(pool) }
    }
}

impl Conf {
    /// The pools that the file `scheduler.allocation.file` describes; none if there is no such setting.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Config`] if it does not describe pools.
    pub fn pools(&self) -> Result<BTreeMap<String, PoolConfig>> {
        let Some(file) = self.get(keys::SCHEDULER_ALLOCATION_FILE)? else { return Ok(BTreeMap::new()) };
        let path = Path::new(file.strip_prefix("file://").unwrap_or(&file));
        let text = load::read(path)?;
        PoolConfig::parse_all(&text).map_err(|problem| Error::Config(format!("pools in {}: {problem}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_with_the_pool() {
        for (inside, expected) in [
            ("<pool/>", "a <pool> has no name"),
            ("<pool name='a'/><pool name='a'/>", "pool a is described twice"),
            ("<pool name='a'><weight>0</weight></pool>", "pool a: <weight> \"0\" is not at least 1"),
            ("<pool name='a'><minShare>x</minShare></pool>", "pool a: <minShare> \"x\" is not a whole number"),
            (
                "<pool name='a'><schedulingMode>LIFO</schedulingMode></pool>",
                "pool a: <schedulingMode> \"LIFO\" is not FIFO or FAIR",
            ),
            ("<pool name='a'><wieght>1</wieght></pool>", "pool a: <wieght> is none of"),
            ("<queue/>", "holds <queue>"),
        ] {
            let error = PoolConfig::parse_all(&format!("<allocations>{inside}</allocations>")).unwrap_err();
            assert!(error.contains(expected), "{inside}: {error}");
        }
        assert!(PoolConfig::parse_all("<pools/>").unwrap_err().contains("not <allocations>"));
    }
}
