//! holdfastd: the cluster-hosted service.
