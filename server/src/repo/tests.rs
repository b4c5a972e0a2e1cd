//! Blobs as a device fetches them.

use crate::both_services;
use crate::testing::desk::firmware;
use serde_json::json;

both_services! {
    async fn a_blob_is_served_whole_in_ranges_and_with_its_block_list(service: Service) {
        let image = firmware("7.28.0", "primehub");
        let artefact = service.upload("firmware", &image).await;
        // Sent again it is the same.
        assert_eq!(service.upload("firmware", &image).await, artefact);
        let device = service.device("serial-1", &json!({})).await;
        let digest = artefact["sha256"].as_str().unwrap();
        let path = format!("/v1/blob/sha256/{digest}");
        let fetch = async |headers: &[(&str, &str)]| service.fetch(Some(&device), &path, headers).await;

        let whole = fetch(&[]).await;
        let etag = format!("\"{digest}\"");
        assert_eq!((whole.status, whole.header("etag"), whole.header("accept-ranges")), (200, etag.as_str(), "bytes"));
        assert_eq!(whole.header("content-length"), image.len().to_string());
        assert!(whole.body == image);

        // A download that broke off goes on where it stopped, under the same ETag.
        let part = fetch(&[("range", "bytes=100000-"), ("if-range", &etag)]).await;
        assert_eq!((part.status, part.header("etag")), (206, etag.as_str()));
        assert_eq!(part.header("content-range"), format!("bytes 100000-{}/{}", image.len() - 1, image.len()));
        assert!(part.body == image[100_000..]);
        let middle = fetch(&[("range", "bytes=65535-65536")]).await;
        assert_eq!((middle.status, middle.body.as_slice()), (206, &image[65_535..65_537]));
        // Another representation: whole, never a part of something else.
        let other = fetch(&[("range", "bytes=5-"), ("if-range", "\"other\"")]).await;
        assert_eq!((other.status, other.body.len()), (200, image.len()));
        let beyond = fetch(&[("range", &format!("bytes={}-", image.len()))]).await;
        assert_eq!(beyond.refusal(), (416, "range-out-of-bounds".into()));
        assert_eq!(fetch(&[("if-none-match", &etag)]).await.status, 304);

        // The block list under its root: the digest of each block, and every block is what it says.
        let root = artefact["block_root"].as_str().unwrap();
        let list = service.fetch(Some(&device), &format!("/v1/blob/sha256/{root}"), &[]).await.body;
        let root = holdfast_delta::Digest(crate::repo::publish::sha256(&list).0);
        let list = holdfast_delta::BlockList::parse(&list, image.len() as u64, root).unwrap();
        assert_eq!((list.count(), list.verified_prefix(&mut image.as_slice()).unwrap()), (2, 2));
    }

    async fn what_is_not_what_was_announced_is_not_stored(service: Service) {
        let device = service.device("serial-1", &json!({})).await;
        let digest = "ab".repeat(32);
        let put = async |path: &str, body: &[u8]| {
            service.operator_raw("release-manager", "PUT", &format!("/artifacts/{path}"), body.to_vec()).await.refusal()
        };
        assert_eq!(put(&digest, b"other bytes").await, (400, "digest-mismatch".into()));
        assert_eq!(put("xyz", b"x").await, (400, "malformed-digest".into()));
        assert_eq!(put(&"AB".repeat(32), b"x").await, (400, "malformed-digest".into()));
        let fetch = async |path: &str| service.fetch(Some(&device), &format!("/v1/blob/sha256/{path}"), &[]).await.refusal();
        assert_eq!(fetch(&digest).await, (404, "not-found".into()));
        assert_eq!(fetch("xyz").await, (400, "malformed-digest".into()));
        assert_eq!(std::fs::read_dir(service.data().join("blobs/incoming")).unwrap().count(), 0);
        // Without a device's certificate there is nothing to see.
        let nobody = service.fetch(None, &format!("/v1/blob/sha256/{digest}"), &[]).await;
        assert_eq!(nobody.refusal(), (401, "no-client-certificate".into()));
    }

    async fn metadata_has_one_name_each(service: Service) {
        crate::testing::desk::Desk::ready(&service).await;
        for path in ["1.root.json", "timestamp.json"] {
            assert_eq!(service.fetch(None, &format!("/v1/tuf/{path}"), &[]).await.status, 200, "{path}");
        }
        for path in [
            "01.root.json", "+1.root.json", "0.root.json", "2.root.json", "root.json", "1.root", "1.timestamp.json.json",
            "99999999999999999999.root.json", "1.%2e%2e.json", "targets/trust/ca.json", "targets/ca.json",
        ] {
            assert_eq!(service.fetch(None, &format!("/v1/tuf/{path}"), &[]).await.refusal().0, 404, "{path}");
        }
    }
}
