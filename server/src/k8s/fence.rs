//! The controller's own fence: it tries to read Secrets and must be refused.
//!
//! "Not found" means that it was let in. A network failure means nothing: it is tried again.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Error};

/// A name that nobody gives: reading it shows nothing even where the fence does not hold.
const NO_SUCH_SECRET: &str = "holdfast-fence-probe";

/// Why there is no verdict, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    #[error("the controller could {verb} Secrets in {place}: take that right from its ServiceAccount")]
    Open { verb: &'static str, place: String },
    #[error("the fence could not be tried")]
    Untried(#[source] Error),
}

/// Tries to get and to list Secrets: in one namespace, or in all of them.
pub async fn check(client: &Client, namespace: Option<&str>) -> Result<(), FenceError> {
    let place = namespace.unwrap_or("every namespace").to_owned();
    let secrets: Api<PartialObjectMeta<Secret>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let listed = secrets.list(&ListParams::default().limit(1)).await;
    verdict("list", &place, listed.err())?;
    // A namespaced object has no cluster-wide name; `default` stands for a namespace that nobody granted.
    let secrets: Api<PartialObjectMeta<Secret>> =
        Api::namespaced(client.clone(), namespace.unwrap_or("default"));
    verdict("get", &place, secrets.get(NO_SUCH_SECRET).await.err())
}

fn verdict(verb: &'static str, place: &str, error: Option<Error>) -> Result<(), FenceError> {
    match error {
        Some(Error::Api(status)) if status.code == 403 => Ok(()),
        None => Err(FenceError::Open { verb, place: place.to_owned() }),
        Some(Error::Api(status)) if status.code == 404 => {
            Err(FenceError::Open { verb, place: place.to_owned() })
        }
        Some(error) => Err(FenceError::Untried(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn api(code: u16) -> Error {
        Error::Api(Box::new(Status { code, ..Status::default() }))
    }

    #[test]
    fn only_a_403_is_a_fence() {
        assert!(verdict("get", "default", Some(api(403))).is_ok());
        for open in [None, Some(api(404))] {
            assert!(matches!(verdict("get", "default", open), Err(FenceError::Open { .. })));
        }
        for unknown in [401, 429, 500, 503] {
            assert!(matches!(verdict("get", "default", Some(api(unknown))), Err(FenceError::Untried(_))));
        }
    }
}
