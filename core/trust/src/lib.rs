//! BELIEVED: the only place where untrusted bytes become trusted values.
