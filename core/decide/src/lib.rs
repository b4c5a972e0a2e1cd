//! DECIDED: what to do next, as pure state machines and tables.
