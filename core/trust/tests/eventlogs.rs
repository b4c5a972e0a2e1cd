//! eventlogs
