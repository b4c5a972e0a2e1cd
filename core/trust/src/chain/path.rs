//! Path building and validation (RFC 5280 6.1, as far as makers' chains use it).

use super::cert::Certificate;
use super::signature::{self, SHA1_WITH_RSA, SignatureProblem};
use super::{Algorithms, Anchor, Anchors, TimePolicy, name};
use crate::limits::{INTERMEDIATES_MAX, PATH_MAX_LENGTH, PATH_MAX_SIGNATURES};
use holdfast_proto::Digest;
use x509_parser::extensions::ParsedExtension;

/// What a path is looked for with.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    pub anchors: &'a Anchors,
    pub algorithms: Algorithms<'a>,
    /// Unix seconds.
    pub now: i64,
}

/// A path whose signatures, constraints and times hold.
#[derive(Debug, Clone)]
pub struct Path<'a> {
    pub anchor: &'a Anchor,
    /// Subjects from the leaf's issuer up to the anchor.
    pub issuers: Vec<String>,
    /// Serial numbers (hex) of those issuers.
    pub serials: Vec<String>,
    pub notes: Vec<String>,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathProblem {
    /// Signatures or constraints; what went wrong at each candidate.
    NoPath(Vec<String>),
    /// A path exists but for the time.
    Time(String),
}

/// Looks for a path from `leaf` to an anchor over `intermediates`, depth first, within a budget of signatures.
///
/// # Errors
/// With everything that was tried.
pub fn find<'a>(
    search: Search<'a>,
    leaf: &Certificate<'_>,
    intermediates: &[Certificate<'_>],
) -> Result<Path<'a>, PathProblem> {
    let anchors = search.anchors.anchors.iter();
    let anchors: Vec<_> =
        anchors.filter_map(|anchor| Some((anchor, Certificate::parse(&anchor.certificate).ok()?))).collect();
    let intermediates = intermediates.get(..INTERMEDIATES_MAX).unwrap_or(intermediates);
    let (tried, time) = (Vec::new(), None);
    let mut walk = Walk {
        search,
        leaf,
        anchors: &anchors,
        intermediates,
        signatures_left: PATH_MAX_SIGNATURES,
        tried,
        time,
    };
    if let Some(path) = walk.climb(&mut Vec::new()) {
        return Ok(path);
    }
    Err(match walk.time {
        Some(why) => PathProblem::Time(why),
        None if walk.tried.is_empty() => PathProblem::NoPath(vec![format!(
            "no anchor and no intermediate is called `{}`",
            leaf.x509.issuer()
        )]),
        None => PathProblem::NoPath(walk.tried),
    })
}

struct Walk<'a, 'w> {
    search: Search<'a>,
    leaf: &'w Certificate<'w>,
    anchors: &'w [(&'a Anchor, Certificate<'a>)],
    intermediates: &'w [Certificate<'w>],
    signatures_left: usize,
    tried: Vec<String>,
    time: Option<String>,
}

impl<'a> Walk<'a, '_> {
    /// `path` holds the intermediates so far, the leaf's issuer first, as indices.
    fn climb(&mut self, path: &mut Vec<usize>) -> Option<Path<'a>> {
        // Unwrap safety: climb() pushes indices of this slice alone.
        let child = path.last().map_or(self.leaf, |top| &self.intermediates[*top]);
        let anchors = self.anchors;
        for (anchor, certificate) in anchors {
            if !name::same(child.x509.issuer(), certificate.x509.subject()) {
                continue;
            }
            if self.issued(child, certificate, path, Trust::Anchor)
                && let Some(found) = self.finished(anchor, certificate, path)
            {
                return Some(found);
            }
        }
        if path.len() >= PATH_MAX_LENGTH {
            self.tried.push(format!("the path is longer than {PATH_MAX_LENGTH}"));
            return None;
        }
        for index in self.candidates(child) {
            // Unwrap safety: candidates() gives indices of this slice.
            let issuer = &self.intermediates[index];
            if path.contains(&index) || !self.issued(child, issuer, path, Trust::None) {
                continue;
            }
            path.push(index);
            if let Some(found) = self.climb(path) {
                return Some(found);
            }
            path.pop();
        }
        None
    }

    /// Intermediates with the issuer's name; those with the right key identifier first, since it is only a hint.
    fn candidates(&self, child: &Certificate<'_>) -> Vec<usize> {
        let wanted = child.authority_key_id().flatten();
        let named = self.intermediates.iter().enumerate();
        let mut found: Vec<(bool, usize)> = named
            .filter(|(_, issuer)| name::same(child.x509.issuer(), issuer.x509.subject()))
            .map(|(index, issuer)| (issuer.subject_key_id() != wanted, index))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, index)| index).collect()
    }

    /// Whether `issuer` may issue and did issue `child`; `path` holds what stands between the leaf and `issuer`.
    fn issued(
        &mut self,
        child: &Certificate<'_>,
        issuer: &Certificate<'_>,
        path: &[usize],
        trust: Trust,
    ) -> bool {
        if self.signatures_left == 0 {
            self.tried.push(format!("{PATH_MAX_SIGNATURES} signatures were tried without a path"));
            return false;
        }
        self.signatures_left -= 1;
        let below = path.iter().filter(|index| !self.intermediates[**index].is_self_issued()).count();
        let held = may_issue(issuer, below, trust)
            .and_then(|()| self.signed(child, issuer).map_err(|why| why.to_string()));
        match held {
            Ok(()) => true,
            Err(why) => {
                self.tried.push(format!("`{}` ({}): {why}", issuer.x509.subject(), issuer.serial_hex()));
                false
            }
        }
    }

    fn signed(&self, child: &Certificate<'_>, issuer: &Certificate<'_>) -> Result<(), SignatureProblem> {
        if child.algorithm.starts_with(&SHA1_WITH_RSA) {
            // SHA-1 counts only where the operator pinned the very issuer.
            if !self.search.anchors.sha1_issuers.contains(&Digest(issuer.fingerprint())) {
                return Err(SignatureProblem::Sha1);
            }
            return signature::verify_sha1_rsa(issuer.spki(), child.tbs, child.signature);
        }
        signature::verify(self.search.algorithms, issuer.spki(), child.algorithm, child.tbs, child.signature)
    }

    /// The path once it reached an anchor, if its times suit the anchor's policy.
    fn finished(&mut self, anchor: &'a Anchor, top: &Certificate<'_>, path: &[usize]) -> Option<Path<'a>> {
        let issuers: Vec<&Certificate<'_>> =
            path.iter().map(|index| &self.intermediates[*index]).chain([top]).collect();
        let (at, mut notes) = match anchor.time {
            TimePolicy::Strict => (self.search.now, Vec::new()),
            TimePolicy::ValidAtIssuance => (self.leaf.not_before(), Vec::new()),
        };
        let leaf_ended = self.leaf.not_after() < self.search.now;
        let late = issuers.iter().find(|issuer| at < issuer.not_before() || at > issuer.not_after());
        let problem = if self.leaf.not_before() > self.search.now {
            Some(format!(
                "the certificate is valid from {} on, it is {}",
                self.leaf.not_before(),
                self.search.now
            ))
        } else if leaf_ended && anchor.time == TimePolicy::Strict {
            Some(format!("the certificate ended at {}, it is {}", self.leaf.not_after(), self.search.now))
        } else {
            late.map(|issuer| {
                let (from, to) = (issuer.not_before(), issuer.not_after());
                format!("`{}` was valid from {from} to {to}, the policy asks for {at}", issuer.x509.subject())
            })
        };
        if let Some(problem) = problem {
            self.time.get_or_insert(problem);
            return None;
        }
        if leaf_ended {
            notes.push(format!(
                "the certificate ended at {}; valid-at-issuance lets it through",
                self.leaf.not_after()
            ));
        }
        for issuer in issuers.iter().filter(|issuer| issuer.not_after() < self.search.now) {
            notes.push(format!("`{}` ended at {}", issuer.x509.subject(), issuer.not_after()));
        }
        if issuers
            .iter()
            .any(|issuer| issuer.extension(is_policies).is_some_and(|extension| extension.critical))
        {
            notes.push("critical certificatePolicies of an issuer: tolerated, no policy is required".into());
        }
        Some(Path {
            anchor,
            issuers: issuers.iter().map(|issuer| issuer.x509.subject().to_string()).collect(),
            serials: issuers.iter().map(|issuer| issuer.serial_hex()).collect(),
            notes,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Anchor,
    None,
}

/// RFC 5280 6.1.4 (k) to (o): what makes a certificate an issuer. `below`: certificates between it and the leaf.
fn may_issue(issuer: &Certificate<'_>, below: usize, trust: Trust) -> Result<(), String> {
    match issuer.basic_constraints() {
        Some((true, None)) => {}
        Some((true, Some(length))) if below <= length as usize => {}
        Some((true, Some(length))) => {
            return Err(format!("pathLenConstraint {length}, {below} stand below it"));
        }
        Some((false, _)) => return Err("basicConstraints: no CA".into()),
        // An anchor of X.509 version 1 has no extensions at all; the operator vouches for it.
        None if trust == Trust::Anchor && issuer.x509.extensions().is_empty() => {}
        None => return Err("no basicConstraints".into()),
    }
    if issuer.key_usage().is_some_and(|usage| !usage.key_cert_sign()) {
        return Err("keyUsage lacks keyCertSign".into());
    }
    if trust == Trust::Anchor {
        return Ok(());
    }
    if let Some(unknown) = issuer
        .x509
        .extensions()
        .iter()
        .find(|extension| extension.critical && !tolerated(extension.parsed_extension()))
    {
        return Err(format!("unknown critical extension {}", unknown.oid));
    }
    // An issuer that is limited to other purposes does not issue EK certificates.
    let purposes = issuer.extended_key_usage();
    if purposes.is_some_and(|usage| {
        !usage.any && !usage.other.iter().any(|oid| oid.to_string().starts_with(TCG_PURPOSES))
    }) {
        return Err("extendedKeyUsage names no TCG purpose".into());
    }
    Ok(())
}

/// Critical extensions that an intermediate may carry. Name constraints are not among them: they are not evaluated.
fn tolerated(extension: &ParsedExtension<'_>) -> bool {
    matches!(
        extension,
        ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::CertificatePolicies(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::CRLDistributionPoints(_)
            | ParsedExtension::AuthorityInfoAccess(_)
    )
}

fn is_policies(extension: &ParsedExtension<'_>) -> bool {
    matches!(extension, ParsedExtension::CertificatePolicies(_))
}

/// tcg-kp: EK, platform and AK certificates.
const TCG_PURPOSES: &str = "2.23.133.8.";
