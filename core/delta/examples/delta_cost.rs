//! `delta_cost BASE TARGET [CODEC]`: the size of each codec's patch for a pair, as JSON, with the peak
//! memory of this process. With CODEC only that one is built (and its peak is its own);
//! `--save FILE` keeps the patch.

use std::process::ExitCode;

use holdfast_delta::{
    Codec,
    encode::{self, Budget},
};

#[expect(clippy::disallowed_methods, reason = "the caller's own file")]
fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let save = arguments.iter().position(|a| a == "--save").map(|at| {
        arguments.remove(at);
        arguments.remove(at)
    });
    let (base, target, only) = match &arguments[..] {
        [base, target] => (base, target, None),
        [base, target, codec] => (base, target, Some(codec.parse::<Codec>().expect("a codec"))),
        _ => {
            eprintln!("usage: delta_cost BASE TARGET [full|bsdiff|zstd_patch] [--save PATCH]");
            return ExitCode::from(2);
        }
    };
    let (base, target) = (std::fs::read(base).expect("BASE"), std::fs::read(target).expect("TARGET"));
    let mut budget = Budget::for_images(base.len() as u64, target.len() as u64);
    if let Ok(log) = std::env::var("DELTA_WINDOW_LOG") {
        budget.window_log = log.parse().expect("a window log");
    }
    println!("{{\n  \"base_len\": {},\n  \"target_len\": {},\n  \"codecs\": [", base.len(), target.len());
    let mut rows = Vec::new();
    for codec in Codec::ALL.into_iter().filter(|codec| only.is_none_or(|only| only == *codec)) {
        rows.push(match encode::encode(codec, &base, &target, &budget) {
            Ok(encoded) => {
                if let Some(path) = &save {
                    std::fs::write(path, &encoded.bytes).expect("PATCH");
                }
                let h = encoded.header;
                format!(
                    "    {{\"codec\": \"{codec}\", \"bytes\": {}, \"frames\": {}, \"window_log\": {}, \"ram_bytes\": {}}}",
                    encoded.bytes.len(), h.frame_count, h.window_log, h.ram_bytes
                )
            }
            Err(error) => format!("    {{\"codec\": \"{codec}\", \"error\": \"{error}\"}}"),
        });
    }
    let (peak, image) = (peak_rss(), base.len().max(target.len()) as u64);
    println!(
        "{}\n  ],\n  \"peak_rss_bytes\": {peak},\n  \"peak_rss_per_image\": {:.2}\n}}",
        rows.join(",\n"),
        peak as f64 / image.max(1) as f64
    );
    ExitCode::SUCCESS
}

/// `VmHWM` of this process, bytes.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
