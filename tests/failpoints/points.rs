//! The points as the sources name them: one that is added is tried, or missed in the binary, without being listed here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A step of the product that may be made to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) name: String,
    /// The function it is in returns an error there, if it is told to.
    pub(crate) can_fail: bool,
}

/// All points in `src/`, in the order of its files.
pub(crate) fn points() -> Vec<Point> {
    let (mut files, mut directories) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path: PathBuf = entry.expect("readable").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    let points: Vec<_> =
        files.iter().flat_map(|file| points_of(&fs::read_to_string(file).unwrap_or_default())).collect();
    let names: BTreeSet<_> = points.iter().map(|point| &point.name).collect();
    assert_eq!(names.len(), points.len(), "a name is used twice: {points:?}");
    assert!(names.len() >= 20, "only {} points: has the macro another name?", names.len());
    points
}

fn points_of(source: &str) -> Vec<Point> {
    let after_macro = source.split("failpoint!(").skip(1);
    let point = |text: &str| {
        let (name, rest) = text.trim_start().strip_prefix('"')?.split_once('"')?;
        Some(Point { name: name.to_owned(), can_fail: rest.starts_with(',') })
    };
    after_macro.filter_map(point).collect()
}

#[test]
fn a_point_is_found_with_and_without_an_error() {
    let source = "failpoint!(\"a.b\");\n    failpoint!(\n \"c.d\",\n Error::Io\n);";
    let found = points_of(source);
    let point = |name: &str, can_fail| Point { name: name.to_owned(), can_fail };
    assert_eq!(found, [point("a.b", false), point("c.d", true)]);
}
