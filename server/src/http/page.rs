//! Pages: `?limit=` and `?cursor=`. A cursor is opaque to the caller; here it is the last row's key.

use crate::refusal::Refusal;
use holdfast_proto::api::Page;
use serde::Deserialize;

pub const LIMIT_DEFAULT: u32 = 100;
pub const LIMIT_MAX: u32 = 1000;

/// The two parameters; flatten them into a list's own.
#[derive(Debug, Default, Clone, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParameters {
    /// Rows wanted, 1 to 1000; 100 when absent.
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl PageParameters {
    /// Rows wanted. SQL should ask for one more than this and hand all of them to [`page`].
    pub fn limit(&self) -> Result<i64, Refusal> {
        match self.limit.unwrap_or(LIMIT_DEFAULT) {
            limit @ 1..=LIMIT_MAX => Ok(i64::from(limit)),
            other => {
                Err(Refusal::invalid("limit-out-of-range", format!("limit is 1 to {LIMIT_MAX}, not {other}")))
            }
        }
    }

    /// The cursor as text; empty on the first page.
    pub fn after(&self) -> &str {
        self.cursor.as_deref().unwrap_or_default()
    }

    /// The cursor as a number; `first` on the first page.
    pub fn after_number(&self, first: i64) -> Result<i64, Refusal> {
        self.cursor.as_deref().map_or(Ok(first), |text| {
            text.parse()
                .map_err(|_| Refusal::invalid("malformed-cursor", "this cursor is not from this list"))
        })
    }
}

/// Makes a page from up to `limit + 1` rows; `key` names a row's cursor.
pub fn page<T>(mut rows: Vec<T>, limit: i64, key: impl Fn(&T) -> String) -> Page<T> {
    let more = rows.len() as i64 > limit;
    rows.truncate(limit as usize);
    let next = if more { rows.last().map(key) } else { None };
    Page { items: rows, next }
}
