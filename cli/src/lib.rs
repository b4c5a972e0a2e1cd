//! holdfast: the operator's command and the release signer's desk.
