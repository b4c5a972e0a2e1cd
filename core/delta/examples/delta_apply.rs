//! `delta_apply PATCH BASE OUT BASE_SHA256 OUTPUT_SHA256 OUTPUT_LEN [--resume] [--ram BYTES]`: applies a
//! patch as a device does, and prints frames and this process's peak memory as JSON.

use std::fs::{File, OpenOptions};
use std::process::ExitCode;

use holdfast_delta::{Digest, Expected, Limits, Start, apply};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [patch, base, out, base_sha, output_sha, output_len, options @ ..] = &arguments[..] else {
        eprintln!(
            "usage: delta_apply PATCH BASE OUT BASE_SHA256 OUTPUT_SHA256 OUTPUT_LEN [--resume] [--ram BYTES]"
        );
        return ExitCode::from(2);
    };
    let expected = Expected {
        base_sha256: Some(digest(base_sha)),
        output_sha256: digest(output_sha),
        output_len: output_len.parse().expect("OUTPUT_LEN"),
    };
    let mut limits = Limits::default();
    if let Some(at) = options.iter().position(|option| option == "--ram") {
        limits.ram_bytes = options[at + 1].parse().expect("BYTES");
    }
    let start =
        if options.iter().any(|option| option == "--resume") { Start::Resume } else { Start::Beginning };
    let mut patch = File::open(patch).expect("PATCH");
    let mut base = File::open(base).expect("BASE");
    let mut out =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(out).expect("OUT");
    match apply(&mut patch, &mut base, &mut out, &expected, &limits, start) {
        Ok(applied) => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let peak = status
                .lines()
                .find(|line| line.starts_with("VmHWM"))
                .and_then(|l| l.split_whitespace().nth(1));
            println!(
                "{{\"output_sha256\": \"{}\", \"codec\": \"{}\", \"frames_applied\": {}, \"frames_kept\": {}, \"peak_rss_kib\": {}}}",
                applied.output_sha256,
                applied.codec,
                applied.frames_applied,
                applied.frames_kept,
                peak.unwrap_or("0")
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("refused: {error}");
            ExitCode::FAILURE
        }
    }
}

fn digest(hex: &str) -> Digest {
    let bytes: Vec<u8> =
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect();
    Digest(bytes.try_into().expect("64 hex digits"))
}
