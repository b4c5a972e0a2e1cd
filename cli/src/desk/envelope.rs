//! A signed envelope: `{"signatures": [..], "signed": {..}}`. Signatures are over the canonical JSON of `signed`.

use super::keys::SigningKey;
use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use tough::schema::key::Key;
use tough::schema::{Root, Targets};

/// Metadata above this is no metadata.
const MAX_BYTES: usize = 8 << 20;

/// An envelope whose `signed` is kept as it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Envelope {
    pub(crate) signatures: Vec<Signature>,
    pub(crate) signed: Value,
}

/// One signature, both in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signature {
    pub(crate) keyid: String,
    pub(crate) sig: String,
}

impl Envelope {
    /// A draft: no signature yet. Checked against the schema.
    pub(crate) fn draft(signed: Value) -> anyhow::Result<Self> {
        let envelope = Self { signatures: Vec::new(), signed };
        envelope.check_schema()?;
        Ok(envelope)
    }

    pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        ensure!(bytes.len() <= MAX_BYTES, "{} bytes are above the cap of {MAX_BYTES}", bytes.len());
        let envelope: Self =
            serde_json::from_slice(bytes).context("not a TUF envelope (signatures, signed)")?;
        envelope.check_schema()?;
        Ok(envelope)
    }

    pub(crate) fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// What is signed (TUF 4.2, canonical JSON).
    pub(crate) fn canonical(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut serializer =
            serde_json::Serializer::with_formatter(&mut bytes, olpc_cjson::CanonicalFormatter::new());
        self.signed.serialize(&mut serializer).context("no canonical JSON of this document")?;
        Ok(bytes)
    }

    pub(crate) fn version(&self) -> anyhow::Result<u64> {
        self.signed["version"].as_u64().context("`signed` has no version")
    }

    /// `_type`: `root` or `targets`, by the schema.
    pub(crate) fn kind(&self) -> &str {
        self.signed["_type"].as_str().unwrap_or_default()
    }

    /// The targets that it lists; a root lists none.
    pub(crate) fn targets(&self) -> Map<String, Value> {
        self.signed["targets"].as_object().cloned().unwrap_or_default()
    }

    /// Appends one signature; the same key signs once.
    pub(crate) fn sign(&mut self, key: &SigningKey) -> anyhow::Result<()> {
        if self.signatures.iter().any(|s| s.keyid == key.key_id) {
            bail!("the key {} has already signed this", key.key_id);
        }
        let sig = hex::encode(key.sign(&self.canonical()?));
        self.signatures.push(Signature { keyid: key.key_id.clone(), sig });
        Ok(())
    }

    /// Takes the other's signatures; both must be over the same document.
    pub(crate) fn merge(&mut self, other: &Self) -> anyhow::Result<()> {
        ensure!(
            self.canonical()? == other.canonical()?,
            "these are different documents: only signatures over the same bytes can be merged"
        );
        for signature in &other.signatures {
            if !self.signatures.iter().any(|s| s.keyid == signature.keyid) {
                self.signatures.push(signature.clone());
            }
        }
        Ok(())
    }

    /// How many distinct public keys of `keys` have validly signed.
    pub(crate) fn valid_signatures(&self, keys: &[(String, Key)]) -> anyhow::Result<usize> {
        let message = self.canonical()?;
        let mut signed_by = BTreeSet::new();
        for signature in &self.signatures {
            let Some((_, key)) = keys.iter().find(|(id, _)| *id == signature.keyid) else { continue };
            let Key::Ed25519 { keyval, .. } = key else { continue };
            let bytes = hex::decode(&signature.sig).context("a signature is not hex")?;
            let public = aws_lc_rs::signature::UnparsedPublicKey::new(
                &aws_lc_rs::signature::ED25519,
                keyval.public.to_vec(),
            );
            if public.verify(&message, &bytes).is_ok() {
                signed_by.insert(keyval.public.to_vec());
            }
        }
        Ok(signed_by.len())
    }

    fn check_schema(&self) -> anyhow::Result<()> {
        match self.signed["_type"].as_str() {
            Some("root") => {
                let _: Root =
                    serde_json::from_value(self.signed.clone()).context("not a TUF root (TUF 4.3)")?;
            }
            Some("targets") => {
                let _: Targets =
                    serde_json::from_value(self.signed.clone()).context("not TUF targets (TUF 4.5)")?;
            }
            other => bail!(
                "the desk signs root and targets metadata, not {}",
                other.unwrap_or("a document without _type")
            ),
        }
        Ok(())
    }
}
