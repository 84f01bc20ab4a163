//! The statements that are answered: an allow-list over the engine's own syntax tree.
//!
//! Settings of the engine close many doors, and each version of it opens new ones: functions that run SQL text, write logs or
//! read settings. So everything is refused that is not on a list here: kinds of expressions, kinds of tables, names of
//! functions, and the lake's views.

use std::collections::HashSet;

use anyhow::bail;
use serde_json::{Map, Value};

const FUNCTIONS: &str = include_str!("allowed/functions.txt");

/// Functions that make a table from their arguments alone.
const TABLE_FUNCTIONS: [&str; 5] = [
    "range",
    "generate_series",
    "unnest",
    "json_each",
    "json_tree",
];

/// The member `class` of an expression.
const EXPRESSIONS: [&str; 15] = [
    "BETWEEN",
    "CASE",
    "CAST",
    "COLLATE",
    "COLUMN_REF",
    "COMPARISON",
    "CONJUNCTION",
    "CONSTANT",
    "FUNCTION",
    "LAMBDA",
    "OPERATOR",
    "POSITIONAL_REFERENCE",
    "STAR",
    "SUBQUERY",
    "WINDOW",
];

/// The member `type` of an item of a `FROM` clause.
const TABLES: [&str; 8] = [
    "BASE_TABLE",
    "EMPTY",
    "EXPRESSION_LIST",
    "JOIN",
    "PIVOT",
    "SHOW_REF",
    "SUBQUERY",
    "TABLE_FUNCTION",
];

/// The member `type` of queries, of what modifies them, and of orders.
const NODES: [&str; 11] = [
    "SELECT_NODE",
    "SET_OPERATION_NODE",
    "RECURSIVE_CTE_NODE",
    "CTE_NODE",
    "ORDER_MODIFIER",
    "LIMIT_MODIFIER",
    "LIMIT_PERCENT_MODIFIER",
    "DISTINCT_MODIFIER",
    "ASCENDING",
    "DESCENDING",
    "ORDER_DEFAULT",
];

/// Lists of the lake's tables and columns.
const CATALOG: [&str; 3] = [
    "information_schema.tables",
    "information_schema.columns",
    "information_schema.schemata",
];

/// How the syntax tree names `SHOW TABLES` and `SHOW ALL TABLES`.
const SHOWN: [&str; 2] = ["\"tables\"", "__show_tables_expanded"];

/// Returns an error that names the first thing that is not allowed in `tree`, the result of `json_serialize_sql`. `views` are
/// the names of the lake's views with their schemas.
pub fn check<'a>(tree: &Value, views: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let mut check = Check {
        functions: FUNCTIONS
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(str::split_ascii_whitespace)
            .collect(),
        views: views.map(str::to_ascii_lowercase).collect(),
        with_names: Vec::new(),
    };
    check.value(tree)
}

struct Check {
    functions: HashSet<&'static str>,
    views: HashSet<String>,
    /// The names that `WITH` clauses define where the check is now. Elsewhere the engine takes the same names for those of its
    /// own catalog.
    with_names: Vec<String>,
}

impl Check {
    fn value(&mut self, value: &Value) -> anyhow::Result<()> {
        match value {
            Value::Object(members) => self.object(members),
            Value::Array(items) => items.iter().try_for_each(|item| self.value(item)),
            _ => Ok(()),
        }
    }

    fn object(&mut self, members: &Map<String, Value>) -> anyhow::Result<()> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        if let Some(class) = text("class") {
            one_of(&EXPRESSIONS, class, "expressions of the kind")?;
            if let Some(name) = text("function_name") {
                self.function(name, members)?;
            }
        } else if let Some(kind) = text("type") {
            match kind {
                "BASE_TABLE" => self.table(members)?,
                "TABLE_FUNCTION" => return self.table_function(members),
                "SHOW_REF" if members.get("query").is_none_or(Value::is_null) => {
                    one_of(&SHOWN, text("table_name").unwrap_or_default(), "lists of")?;
                }
                kind if kind.ends_with("_TYPE_INFO") || NODES.contains(&kind) => {}
                kind => one_of(&TABLES, kind, "clauses of the kind")?,
            }
        }
        let outer_names = self.with_names.len();
        if let Some(clause) = members.get("cte_map") {
            self.with_clause(clause)?;
        }
        for (member, value) in members.iter().filter(|(member, _)| *member != "cte_map") {
            self.member(member, value, text("cte_name"))?;
        }
        self.with_names.truncate(outer_names);
        Ok(())
    }

    /// Each query of a `WITH` clause sees the names before its own.
    fn with_clause(&mut self, clause: &Value) -> anyhow::Result<()> {
        let Some(entries) = clause["map"].as_array() else {
            bail!("this form of a WITH clause is not allowed here");
        };
        for entry in entries {
            self.value(entry)?;
            let name = entry["key"].as_str().unwrap_or_default();
            self.with_names.push(name.to_ascii_lowercase());
        }
        Ok(())
    }

    /// Checks a member of an object. The name of a query that reads its own rows is known in the part that is repeated, and
    /// that of a query that runs once in the part that uses it.
    fn member(&mut self, member: &str, value: &Value, own: Option<&str>) -> anyhow::Result<()> {
        let Some(own) = own.filter(|_| matches!(member, "right" | "child")) else {
            return self.value(value);
        };
        self.with_names.push(own.to_ascii_lowercase());
        let checked = self.value(value);
        self.with_names.pop();
        checked
    }

    fn function(&self, name: &str, members: &Map<String, Value>) -> anyhow::Result<()> {
        is_of_the_engine(name, members)?;
        if !self.functions.contains(name.to_ascii_lowercase().as_str())
            && !self.functions.contains(name)
        {
            bail!("the function {name} is not allowed here");
        }
        Ok(())
    }

    fn table_function(&mut self, members: &Map<String, Value>) -> anyhow::Result<()> {
        let Some(Value::Object(function)) = members.get("function") else {
            bail!("this form of a table function is not allowed here");
        };
        let name = function.get("function_name").and_then(Value::as_str);
        let name = name.unwrap_or_default();
        is_of_the_engine(name, function)?;
        one_of(
            &TABLE_FUNCTIONS,
            &name.to_ascii_lowercase(),
            "the table function",
        )?;
        let others = members.iter().filter(|(member, _)| *member != "function");
        let arguments = function
            .iter()
            .filter(|(member, _)| *member != "function_name");
        others
            .chain(arguments)
            .try_for_each(|(_, value)| self.value(value))
    }

    /// The engine takes the name of a table that does not exist for that of a file.
    fn table(&self, members: &Map<String, Value>) -> anyhow::Result<()> {
        let text = |name: &str| {
            members
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (catalog, schema, table) = (
            text("catalog_name"),
            text("schema_name"),
            text("table_name"),
        );
        let full = format!("{schema}.{table}").to_ascii_lowercase();
        let is_with = schema.is_empty()
            && is_identifier(table)
            && self.with_names.contains(&table.to_ascii_lowercase());
        let is_known = is_with || self.views.contains(&full) || CATALOG.contains(&full.as_str());
        if !catalog.is_empty() || !is_known {
            bail!(
                "there is no table {table:?} here; name one as EXPERIMENT.DATATYPE, such as ndt.ndt7, or list them with: select * from (show all tables)"
            );
        }
        Ok(())
    }
}

/// Functions of other schemas may be anything.
fn is_of_the_engine(name: &str, members: &Map<String, Value>) -> anyhow::Result<()> {
    let is_one_of = |member: &str, allowed: &[&str]| {
        let text = members.get(member).and_then(Value::as_str);
        text.is_none_or(|text| allowed.contains(&text))
    };
    if !is_one_of("schema", &["", "main"]) || !is_one_of("catalog", &["", "system"]) {
        bail!("the function {name} is not allowed with a schema");
    }
    Ok(())
}

fn one_of(allowed: &[&str], found: &str, what: &str) -> anyhow::Result<()> {
    if !allowed.contains(&found) {
        bail!("{what} {found:?} are not allowed here");
    }
    Ok(())
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
