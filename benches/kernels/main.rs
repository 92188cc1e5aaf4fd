//! What single steps of a request cost, and whole requests without a network: on the wall clock, or in instructions.
//!
//! `cargo bench --bench kernels` measures times. `kernels --names` lists the kernels, `kernels --once NAME COUNT` runs one of
//! them so often and ends: what `suites/instructions` counts under callgrind. All on one thread, but for SQLite's.

mod rules;
mod service;

use std::time::Duration;

use anyhow::{Context as _, bail};
use criterion::Criterion;

/// Something that costs the same every time.
struct Kernel {
    name: &'static str,
    /// Prepares it.
    new: fn() -> anyhow::Result<Run>,
}

/// Runs a kernel once; the number differs from run to run.
type Run = Box<dyn FnMut(u64) -> anyhow::Result<()>>;

fn kernels() -> impl Iterator<Item = &'static Kernel> {
    rules::KERNELS.iter().chain(service::KERNELS)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--names"] => kernels().for_each(|kernel| println!("{}", kernel.name)),
        ["--once", name, count] => {
            let kernel =
                kernels().find(|kernel| kernel.name == *name).context("no such kernel: see --names")?;
            let mut run = (kernel.new)()?;
            for number in 0..WARM_UP {
                run(number)?;
            }
            counted(&mut run, count.parse().context("a count")?)?;
            // Not its end: that is not what is counted.
            std::process::exit(0);
        }
        ["--once", ..] => bail!("--once NAME COUNT"),
        _ => measure()?, // cargo's own arguments are criterion's
    }
    Ok(())
}

/// Runs that fill caches before anything is counted.
const WARM_UP: u64 = 20;

/// What is counted: callgrind finds it by its name.
#[inline(never)]
fn counted(run: &mut Run, count: u64) -> anyhow::Result<()> {
    for number in WARM_UP..WARM_UP + count {
        run(number)?;
    }
    Ok(())
}

fn measure() -> anyhow::Result<()> {
    let mut criterion = Criterion::default().measurement_time(Duration::from_secs(3)).configure_from_args();
    for kernel in kernels() {
        let mut run = (kernel.new)()?;
        let mut numbers = 0..;
        criterion.bench_function(kernel.name, |bencher| {
            bencher.iter(|| run(numbers.next().unwrap_or_default()));
        });
    }
    criterion.final_summary();
    Ok(())
}
