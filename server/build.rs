//! Migrations are embedded: a new one means a new build.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
