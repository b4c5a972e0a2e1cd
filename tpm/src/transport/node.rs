//! The kernel's device node. `/dev/tpmrm0` has the kernel's resource manager in front, `/dev/tpm0` has not.

use super::{HEADER_BYTES, MAX_FRAME_BYTES, Transport, TransportError, check_command, claimed_size};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

/// An open device node.
#[derive(Debug)]
pub struct DeviceNode {
    file: File,
    target: String,
    managed: bool,
}

impl DeviceNode {
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        let target = path.display().to_string();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| TransportError::Open { target: target.clone(), source })?;
        let managed = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tpmrm"));
        Ok(Self { file, target, managed })
    }
}

impl Transport for DeviceNode {
    fn transact(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError> {
        check_command(command)?;
        let io = |source| TransportError::Io { target: self.target.clone(), source };
        // The kernel takes a command in one write and, before 4.20, gives its response to one read only.
        self.file.write_all(command).map_err(io)?;
        let mut response = vec![0; MAX_FRAME_BYTES];
        let received = self.file.read(&mut response).map_err(io)?;
        response.truncate(received);
        let claimed = claimed_size(&response);
        if received < HEADER_BYTES || claimed != received {
            return Err(TransportError::BadSize { claimed, received });
        }
        Ok(response)
    }

    fn keeps_leftovers(&self) -> bool {
        !self.managed
    }
}
