//! The map in `src/lib.rs` as a test: imports point downward only, every module is on the map, and files stay short
//! enough to be one idea.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file of `src/`, in lines.
const LONGEST: usize = 450;

#[test]
fn imports_point_downward_only() {
    let map = Map::of(&read(Path::new("src/lib.rs")));
    let mut upward = Vec::new();
    for file in sources() {
        let Some(room) = room_of(&file) else { continue };
        let text = read(&file);
        for (line, import) in imports(&text, depth_of(&file), &map) {
            let place = format!("{}:{line}", file.display());
            match import {
                Import::Room(target) if map.floor(&target) < map.floor(&room) => {
                    upward.push(format!("{place}: {room} imports {target}, which is above it"));
                }
                Import::Room(_) => {}
                Import::Unclear(text) => upward.push(format!("{place}: name the room in `{text}`")),
            }
        }
    }
    assert!(upward.is_empty(), "\n{}\n", upward.join("\n"));
}

#[test]
fn every_module_is_on_the_map_once() {
    let text = read(Path::new("src/lib.rs"));
    let map = Map::of(&text);
    let mut on_the_map: Vec<_> = map.0.keys().cloned().collect();
    let declared = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut declared: Vec<_> = declared.map(str::to_owned).collect();
    let mut on_disk: Vec<_> = sources().iter().filter_map(|file| room_of(file)).collect();
    on_disk.dedup();
    for list in [&mut on_the_map, &mut declared, &mut on_disk] {
        list.sort();
    }
    assert_eq!(on_the_map, declared, "the list in the doc comment of src/lib.rs and its `pub mod` lines");
    assert_eq!(on_the_map, on_disk, "the list in the doc comment of src/lib.rs and the modules in src/");
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for file in sources() {
        let lines = read(&file).lines().count();
        if lines > LONGEST {
            long.push(format!("{} has {lines} lines; the most is {LONGEST}: split it", file.display()));
        }
    }
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

/// The rooms of the crate by their place in the numbered list: 1 is the top.
struct Map(BTreeMap<String, usize>);

impl Map {
    /// Reads the lines `//! 3. [`http`]: …`.
    fn of(lib: &str) -> Self {
        let mut floors = BTreeMap::new();
        for line in lib.lines().filter_map(|line| line.strip_prefix("//! ")) {
            let Some((number, entry)) = line.split_once(". [`") else {
                continue;
            };
            let Ok(number) = number.parse::<usize>() else {
                continue;
            };
            let (room, _) = entry.split_once("`]").expect("a room in brackets");
            assert_eq!(number, floors.len() + 1, "the list in src/lib.rs is numbered from the top");
            assert!(floors.insert(room.to_owned(), number).is_none(), "{room} is on the map twice");
        }
        assert!(floors.len() > 1, "src/lib.rs has no numbered list of rooms");
        Self(floors)
    }

    fn floor(&self, room: &str) -> usize {
        *self.0.get(room).unwrap_or_else(|| panic!("{room} is not on the map in src/lib.rs"))
    }

    fn has(&self, room: &str) -> bool {
        self.0.contains_key(room)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Import {
    Room(String),
    /// A path from which the room cannot be told: `crate::*`, `crate as x`.
    Unclear(String),
}

/// What `text`, a file of a module `depth` levels below the crate, takes from the crate's rooms, with line numbers: paths
/// that begin with `crate::`, in `use` and elsewhere, and chains of `super::` that climb out of the room.
fn imports(text: &str, depth: usize, map: &Map) -> Vec<(usize, Import)> {
    let code = without_comments(text);
    let line_of = |position: usize| code[..position].matches('\n').count() + 1;
    let starts_a_path = |position: usize| {
        let before = code[..position].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    };
    let mut found = Vec::new();
    for (position, _) in code.match_indices("crate") {
        let rest = code[position + "crate".len()..].trim_start();
        if !starts_a_path(position) {
            continue;
        }
        if let Some(path) = rest.strip_prefix("::") {
            let path = path.trim_start();
            let items = match path.strip_prefix('{') {
                Some(group) => items_of(group),
                None => vec![path],
            };
            for item in items {
                let room = word(item);
                let import = if map.has(room) {
                    Import::Room(room.to_owned())
                } else {
                    Import::Unclear(format!("crate::{}", item.split(['\n', ';']).next().unwrap_or_default()))
                };
                found.push((line_of(position), import));
            }
        } else if rest.starts_with("as ") {
            found.push((line_of(position), Import::Unclear("crate as …".to_owned())));
        }
    }
    for (position, _) in code.match_indices("super::") {
        if !starts_a_path(position) {
            continue;
        }
        let mut rest = &code[position..];
        let mut climbed = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            (rest, climbed) = (next, climbed + 1);
        }
        let room = word(rest);
        if climbed >= depth && map.has(room) {
            found.push((line_of(position), Import::Room(room.to_owned())));
        }
    }
    found
}

/// The items of a brace group, given what follows its opening brace; those of inner groups stay with theirs.
fn items_of(group: &str) -> Vec<&str> {
    let (mut items, mut start, mut inner) = (Vec::new(), 0, 0);
    for (position, c) in group.char_indices() {
        match c {
            '{' => inner += 1,
            '}' if inner > 0 => inner -= 1,
            ',' | '}' if inner == 0 => {
                items.push(group[start..position].trim());
                start = position + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The text without its line comments; lines stay where they are. Links in documentation may point anywhere.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| match line.trim_start().starts_with("//") {
        true => "",
        false => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The room a file of `src/` belongs to; none for the crate's roots, which stand above all rooms.
fn room_of(file: &Path) -> Option<String> {
    let below = file.strip_prefix("src").ok()?;
    let first = below.iter().next()?.to_string_lossy();
    let room = first.strip_suffix(".rs").unwrap_or(&first);
    (!matches!(room, "lib" | "main")).then(|| room.to_owned())
}

/// How many levels a file's module is below the crate: 2 for `crate::http::query`.
fn depth_of(file: &Path) -> usize {
    let parts = file.iter().count() - 1;
    if file.ends_with("mod.rs") { parts - 1 } else { parts }
}

/// All files of `src/`, relative to the repository, in order.
fn sources() -> Vec<PathBuf> {
    let (mut files, mut directories) = (Vec::new(), vec![PathBuf::from("src")]);
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&directory)).expect("readable");
        for entry in entries {
            let entry = entry.expect("readable");
            let path = directory.join(entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 10, "src/ has only {} files", files.len());
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("readable")
}

mod reading {
    use super::*;

    const LIB: &str =
        "//! Prose.\n//!\n//! 1. [`app`]: top.\n//! 2. [`http`]: middle.\n//! 3. [`domain`]: bottom.\n";

    fn rooms(text: &str, depth: usize) -> Vec<(usize, Import)> {
        imports(text, depth, &Map::of(LIB))
    }

    fn room(line: usize, name: &str) -> (usize, Import) {
        (line, Import::Room(name.to_owned()))
    }

    #[test]
    fn finds_paths_groups_and_inline_uses() {
        let text = "use crate::http;\npub(crate) use crate::{\n    app::{self, App},\n    domain,\n};\nlet x = crate::domain::f();\n";
        assert_eq!(rooms(text, 2), [room(1, "http"), room(2, "app"), room(2, "domain"), room(6, "domain")]);
    }

    #[test]
    fn leaves_comments_and_other_crates_alone() {
        let text = "//! [`X`](crate::app::X)\n    /// crate::app\nuse my_crate::app; use other::crate_x;\npub(in crate) fn f() {}\n";
        assert_eq!(rooms(text, 2), []);
    }

    #[test]
    fn follows_super_out_of_the_room_but_not_within_it() {
        assert_eq!(rooms("use super::app::X;\nuse super::super::app;", 2), [room(2, "app")]);
        assert_eq!(rooms("use super::http::X;", 1), [room(1, "http")]);
    }

    #[test]
    fn refuses_paths_that_hide_the_room() {
        for text in ["use crate::*;", "use crate as all;", "use crate::{self, domain};"] {
            assert!(matches!(rooms(text, 1).first(), Some((1, Import::Unclear(_)))), "{text}");
        }
    }
}
