//! Sites and their clusters: where controllers and workloads live.

use crate::Bytes;
use serde::{Deserialize, Serialize};

/// `POST /api/v1/sites`: a site and the cluster in it, with the keys that its ServiceAccount tokens are verified by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterSite {
    /// `[a-z0-9._-]+`.
    pub site: String,
    pub cluster: String,
    /// `iss` of the cluster's ServiceAccount tokens.
    pub issuer: String,
    /// The cluster's JWKS (`/openid/v1/jwks`), pinned now.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub jwks: serde_json::Value,
}

/// A site, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Site {
    pub site: String,
    pub cluster: String,
    pub issuer: String,
    /// Key ids that are pinned.
    pub key_ids: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_certificate: Option<String>,
    pub created_at: i64,
}

/// `POST /api/v1/sites/{site}/controller-token`: a one-time token for the controller's CSR. Shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ControllerToken {
    pub token: String,
    pub expires_at: i64,
}

/// `POST /v1/site/enroll`: the controller's CSR and its one-time token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrollController {
    pub site: String,
    pub token: String,
    /// PKCS#10, DER.
    pub csr: Bytes,
}

/// `POST /v1/site/renew`: the controller's next CSR, under its present certificate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenewController {
    /// PKCS#10, DER.
    pub csr: Bytes,
}

/// `GET /v1/site`: whom the service takes the controller for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ControllerSite {
    pub tenant: String,
    pub site: String,
    pub cluster: String,
}

/// The answer to both requests for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ControllerIssued {
    /// Leaf first; DER.
    pub certificate_chain: Vec<Bytes>,
    pub tenant: String,
    pub not_after: i64,
}
