//! `sqlx::migrate!` embeds the files of `migrations/`; cargo must know that they are inputs.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
