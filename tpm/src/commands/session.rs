//! The policy session that an endorsement key of the low range needs.

use super::{Auth, Command, Tpm, TpmError};
use crate::wire::{AlgId, Sha2, Writer};
use tpm2_protocol::data::{TpmCc, TpmRh, TpmSe};

impl Tpm {
    /// Runs `work` in a policy session in which PolicyA holds: PolicySecret of the endorsement hierarchy.
    pub(crate) fn with_policy_a<T>(
        &mut self,
        hash: Sha2,
        work: impl FnOnce(&mut Self, Auth) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let session = self.start_policy_session(hash)?;
        let result = self.policy_secret_endorsement(session).and_then(|()| work(self, Auth::Policy(session)));
        let flushed = self.flush(session);
        let value = result?;
        flushed.map(|()| value)
    }

    fn start_policy_session(&mut self, hash: Sha2) -> Result<u32, TpmError> {
        // The caller's nonce only enters HMACs, and this session has no key and computes none.
        let parameters = Writer::default()
            .sized(&[0; 16])
            .sized(&[])
            .u8(TpmSe::Policy.value())
            .u16(AlgId::NULL.0)
            .u16(hash.alg().0);
        let command = Command::new(TpmCc::StartAuthSession)
            .handle(TpmRh::Null.value())
            .handle(TpmRh::Null.value())
            .parameters(parameters);
        Ok(self.call(&command)?.handle()?)
    }

    fn policy_secret_endorsement(&mut self, session: u32) -> Result<(), TpmError> {
        // nonceTPM, cpHashA, policyRef: empty; expiration: none.
        let parameters = Writer::default().sized(&[]).sized(&[]).sized(&[]).u32(0);
        let command = Command::new(TpmCc::PolicySecret)
            .authorised(TpmRh::Endorsement.value(), Auth::Empty)
            .handle(session)
            .parameters(parameters);
        self.call(&command).map(drop)
    }
}
