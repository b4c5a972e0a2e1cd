//! What a device carries from the line: roots, address, tenant, hardware, channel, minimum time.

use crate::refusal::Refusal;
use crate::state::AppState;
use holdfast_proto::api::device::BlobRequest;
use holdfast_proto::blob::DeviceBlob;
use holdfast_proto::{Bytes, TenantId};

/// The blob for a device of this tenant.
pub async fn make(state: &AppState, tenant: &str, request: BlobRequest) -> Result<DeviceBlob, Refusal> {
    for (what, text) in [("hardware", &request.hardware), ("channel", &request.channel)] {
        if !holdfast_proto::id::is_segment(text) {
            return Err(Refusal::invalid("malformed-name", format!("{what} is 1 to 128 of [a-z0-9._-]")));
        }
    }
    let url = request.url.unwrap_or_else(|| state.public_url.clone());
    if !url.starts_with("https://") || url.len() > 512 {
        return Err(Refusal::invalid("malformed-url", "the base URL begins with https://"));
    }
    Ok(DeviceBlob {
        schema: 1,
        tenant: TenantId::new(tenant),
        url: url.trim_end_matches('/').to_owned(),
        ca_roots: vec![Bytes(state.ca.root.certificate.to_vec())],
        tuf_root: state.repo.newest_root().await?.map(Bytes),
        hardware: request.hardware,
        channel: request.channel,
        minimum_time: state.now(),
        join_token: request.join_token,
    })
}
