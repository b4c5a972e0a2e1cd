//! One token for each (namespace, ServiceAccount), kept until shortly before it ends.

use super::apply;
use kube::{Client, Error};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// A token is renewed this long before it ends, at the latest; up to twice as long by chance, so that not all of them
/// are renewed at once.
const MARGIN_S: u64 = 60;

type Key = (String, String);

struct Held {
    token: Arc<Zeroizing<String>>,
    renew_at: i64,
}

/// The tokens.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<Key, Held>>);

impl Tokens {
    /// The token of a ServiceAccount of this namespace.
    pub async fn of(
        &self,
        client: &Client,
        (namespace, account): (&str, &str),
        audience: &str,
        now: i64,
    ) -> Result<Arc<Zeroizing<String>>, Error> {
        let key = (namespace.to_owned(), account.to_owned());
        if let Some(held) = self.held().get(&key).filter(|held| now < held.renew_at) {
            return Ok(Arc::clone(&held.token));
        }
        let (token, expires_at) = apply::service_account_token(client, namespace, account, audience).await?;
        let token = Arc::new(token);
        let margin = MARGIN_S + crate::chance::below(MARGIN_S);
        let mut held = self.held();
        // Accounts that nobody asks for any more leave their tokens behind: they go once they have ended.
        held.retain(|_, old| now < old.renew_at);
        held.insert(key, Held { token: Arc::clone(&token), renew_at: expires_at - margin as i64 });
        Ok(token)
    }

    /// Forgets a token that the service refused, or whose account is gone.
    pub fn forget(&self, namespace: &str, account: &str) {
        self.held().remove(&(namespace.to_owned(), account.to_owned()));
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
