//! Statements that nobody looks at within their transaction: kept, and said in one go before its commit.
//!
//! Each statement costs a way to SQLite's thread and back, which is more than what most of them do there.

use super::Error;
use sqlx::any::AnyArguments;
use sqlx::{Any, AnyConnection, Arguments as _};

/// Several statements as one, in the order in which they were added.
#[derive(Default)]
pub(super) struct Later {
    sql: String,
    arguments: AnyArguments,
}

impl Later {
    pub(super) fn add<'q>(&mut self, mut query: impl sqlx::Execute<'q, Any>) -> Result<(), Error> {
        let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?.unwrap_or_default();
        self.separate();
        renumbered(query.sql().as_str(), self.arguments.len(), &mut self.sql);
        self.arguments.values.0.extend(arguments.values.0);
        Ok(())
    }

    /// A statement without arguments.
    pub(super) fn and(mut self, statement: &'static str) -> Self {
        self.separate();
        self.sql.push_str(statement);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sql.is_empty()
    }

    /// The first that fails ends it.
    pub(super) async fn say(self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let query = sqlx::query_with(sqlx::AssertSqlSafe(self.sql), self.arguments);
        query.execute(connection).await.map(|_| ())
    }

    fn separate(&mut self) {
        if !self.sql.is_empty() {
            self.sql.push_str("; ");
        }
    }
}

/// Appends the statement; its `$1` becomes the first argument after `by` others. Statements hold no quoted `$1`.
fn renumbered(sql: &str, by: usize, into: &mut String) {
    let mut parts = sql.split('$');
    into.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = part.split_at(digits);
        into.push('$');
        match number.parse::<usize>() {
            Ok(number) => into.push_str(&(number + by).to_string()),
            Err(_) => into.push_str(number),
        }
        into.push_str(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::renumbered;

    #[test]
    fn arguments_follow_those_of_the_statements_before() {
        for (by, after) in [(0, "a = $1, b = $12 OR $1"), (10, "a = $11, b = $22 OR $11")] {
            let mut sql = String::new();
            renumbered("a = $1, b = $12 OR $1", by, &mut sql);
            assert_eq!(sql, after);
        }
    }
}
