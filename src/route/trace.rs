//! The record of one evaluation: each condition with what was expected, what was found and where; it judges nothing.

use std::fmt;

use crate::dicom::Uid;
use crate::pipeline::Group;

/// One condition as it was evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// JSON path of the condition in the pipeline file.
    pub path: String,
    pub holds: bool,
    pub expected: String,
    pub found: String,
    /// For a test of instances: which and how many of them.
    pub evidence: Option<Evidence>,
    /// How the children are joined; children exist only with a group.
    pub group: Option<Group>,
    pub children: Vec<Trace>,
}

/// What the instances of a series said.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The instance that `found` is of: the first that decided.
    pub instance: Option<Uid>,
    /// How many instances satisfy the test.
    pub satisfying: usize,
    pub of: usize,
}

impl Trace {
    /// A condition without instances and children.
    pub fn leaf(path: &str, holds: bool, expected: impl Into<String>, found: impl Into<String>) -> Trace {
        let (path, expected, found) = (path.to_owned(), expected.into(), found.into());
        Trace { path, holds, expected, found, evidence: None, group: None, children: Vec::new() }
    }

    /// Conditions joined by `group`.
    pub fn joined(path: &str, group: Group, children: Vec<Trace>) -> Trace {
        let held = children.iter().filter(|child| child.holds).count();
        let holds = match group {
            Group::All => held == children.len(),
            Group::Any => held > 0,
            Group::None => held == 0,
        };
        let expected = format!("{} of {} conditions", group.key(), children.len());
        let found = format!("{held} that hold");
        Trace { group: Some(group), children, ..Trace::leaf(path, holds, expected, found) }
    }

    /// Why it does not hold: one line for each condition that decided. Empty when it holds.
    pub fn reasons(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.holds {
            self.collect(true, &mut lines);
        }
        lines
    }

    /// Adds the conditions below that are what they should not be; `wanted` is what this one should be.
    fn collect(&self, wanted: bool, lines: &mut Vec<String>) {
        if self.holds == wanted {
            return;
        }
        let wanted_below = match self.group {
            Some(Group::None) => !wanted,
            _ => wanted,
        };
        if self.children.is_empty() {
            let not = if wanted { "" } else { "not: " };
            lines.push(format!("{}: expected {not}{}, found {}", self.path, self.expected, self.told_found()));
        }
        for child in &self.children {
            child.collect(wanted_below, lines);
        }
    }

    fn told_found(&self) -> String {
        match &self.evidence {
            Some(Evidence { instance: Some(instance), satisfying, of }) => {
                format!("{} in {instance} ({satisfying} of {of} instances satisfy it)", self.found)
            }
            Some(Evidence { instance: None, satisfying, of }) => {
                format!("{} ({satisfying} of {of} instances satisfy it)", self.found)
            }
            None => self.found.clone(),
        }
    }
}

impl fmt::Display for Trace {
    /// The whole tree, one condition a line, indented; `+` holds and `-` does not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stack = vec![(self, 0_usize)];
        while let Some((at, depth)) = stack.pop() {
            let mark = if at.holds { '+' } else { '-' };
            writeln!(f, "{:depth$}{mark} {}: expected {}, found {}", "", at.path, at.expected, at.told_found())?;
            stack.extend(at.children.iter().rev().map(|child| (child, depth + 2)));
        }
        Ok(())
    }
}
