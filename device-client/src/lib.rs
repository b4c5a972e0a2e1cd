//! The device's agent: adapters around decide::device.
