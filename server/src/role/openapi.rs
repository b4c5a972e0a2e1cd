//! `holdfastd openapi`, and the document at `/api/openapi.json`.

use crate::http::auth::Need;
use axum::response::{IntoResponse, Response};
use std::sync::OnceLock;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, ResponseBuilder};

/// Where the document is served.
pub const PATH: &str = "/api/openapi.json";

/// Title, security schemes and the problem document.
pub(super) fn head() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Holdfast")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Device identity, updates and secrets. Refusals are problem documents (RFC 9457)."))
        .license(Some(utoipa::openapi::License::new("Apache-2.0 OR MIT")))
        .build();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("hf_<64 hex>").build();
    let mut components = Components::new();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let mutual = || SecurityScheme::MutualTls { description: None, extensions: None, deprecated: None };
    components.add_security_scheme("device", mutual());
    components.add_security_scheme("controller", mutual());
    let schema = <holdfast_proto::problem::Problem as utoipa::PartialSchema>::schema();
    components.schemas.insert("Problem".to_owned(), schema);
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// Writes the need into an operation: its security, its action, and the problem document.
pub(super) fn describe_need(operation: &mut Operation, need: Need) {
    let requirement = |scheme: &str| SecurityRequirement::new::<&str, [&str; 0], &str>(scheme, []);
    let (word, security) = match need {
        Need::Public => ("public".to_owned(), SecurityRequirement::default()),
        Need::Limited => ("public, rate-limited".to_owned(), SecurityRequirement::default()),
        Need::Device | Need::DeviceAcknowledging => ("device".to_owned(), requirement("device")),
        Need::Operator(resource, action) => (format!("operator: {resource}.{action}"), requirement("token")),
        Need::Controller => ("controller".to_owned(), requirement("controller")),
    };
    operation.security = Some(vec![security]);
    operation
        .extensions
        .get_or_insert_default()
        .merge(ExtensionsBuilder::new().add("x-holdfast-need", word).build());
    let problem = ResponseBuilder::new()
        .description("A problem document")
        .content(holdfast_proto::problem::PROBLEM_JSON, Content::new(Some(Ref::from_schema_name("Problem"))))
        .build();
    operation.responses.responses.entry("default".to_owned()).or_insert(problem.into());
}

/// The document as pretty JSON.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| super::router::document().to_pretty_json().unwrap_or_default() + "\n")
}

pub(super) async fn serve() -> Response {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], text()).into_response()
}
