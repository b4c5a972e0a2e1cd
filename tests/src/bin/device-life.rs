//! `device-life FOLDER`: the machine around the device in FOLDER, until it is killed.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: device-life FOLDER");
        return ExitCode::from(2);
    };
    match holdfast_tests::life::live(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("device-life: {error:#}");
            ExitCode::FAILURE
        }
    }
}
