//! The structure of `shared`: each folder depends only on folders below it, so that one can be read, and trusted, without those above.

use std::path::{Path, PathBuf};

/// The folders of `shared/src`, lowest first. Those on one level may use each other.
const FLOORS: [&[&str]; 8] = [
    &["bounded", "clock", "config", "crypto", "error", "ids", "lock"],
    &["store"],
    &["log", "model"],
    &["aws"],
    &["tenancy"],
    &["accounts", "carriers", "children", "invitations", "owners", "tenant_lifecycle", "workspaces"],
    &["http"],
    &["runtime"],
];

#[test]
fn no_room_of_shared_depends_on_one_above_it() {
    let root = shared();
    let mut problems = vec![];
    for file in sources(&root) {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&root).unwrap();
        let room = name.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if room != "lib" {
            problems.extend(upward(room, &text).into_iter().map(|(line, to)| format!("{}:{line}: {room} -> {to}", name.display())));
        }
    }
    assert!(problems.is_empty(), "these arrows go up; what both need belongs below both:\n{}", problems.join("\n"));
}

#[test]
fn an_arrow_that_goes_up_is_seen() {
    let text = "use crate::store::Table;\nuse crate::{\n    error::Error,\n    tenancy::{Role, TenantStore},\n};\nfn f() { crate::http::json::parse() }\n// crate::runtime\n";
    assert_eq!(upward("model", text), [(4, "tenancy".to_owned()), (6, "http".to_owned())]);
    assert_eq!(upward("http", text), []);
    assert_eq!(upward("http", "use crate::nowhere::X;"), [(1, "nowhere".to_owned())]);
}

/// A tenant's id comes from a verified credential, the directory or a stored key. Only `tenancy` creates one, and what reads the ids that we signed.
#[test]
fn tenant_ids_are_made_in_tenancy_alone() {
    let root = shared();
    for file in sources(&root) {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let makes = ["new", "parse", "of_bytes"].iter().any(|make| text.contains(&format!("TenantId::{make}(")));
        let may = name.starts_with("tenancy/") || ["ids/tenant_id.rs", "model/mail_ref.rs", "model/message_ref.rs"].contains(&name);
        assert!(!makes || may, "{name} makes a tenant's id");
    }
}

/// Facts of the directory say whose something is, across tenants. Records outside `shared` are a tenant's own, and stand in a list of records.
#[test]
fn only_shared_has_records_of_the_directory() {
    let root = shared().parent().unwrap().parent().unwrap().to_owned();
    let crates = std::fs::read_dir(root.join("shared")).unwrap().map(|entry| entry.unwrap().path());
    let crates: Vec<_> = crates.filter(|path| path.join("Cargo.toml").is_file()).chain([root.join("functions")]).collect();
    assert!(crates.len() > 5, "{crates:?}");
    for folder in crates {
        for file in sources(&folder) {
            let text = std::fs::read_to_string(&file).unwrap();
            for word in ["InDirectory", "Declared", "::Scope;", "Kind::of"] {
                assert!(!text.contains(word), "{} says {word}", file.display());
            }
        }
    }
}

/// Line and folder of each import from a folder above, or from an unknown one.
fn upward(room: &str, text: &str) -> Vec<(usize, String)> {
    let floor = |room: &str| FLOORS.iter().position(|floor| floor.contains(&room));
    let own = floor(room).unwrap_or_else(|| panic!("{room} has no floor: say in FLOORS where it stands"));
    let mut found = vec![];
    // Within `use crate::{ … }`, each line with the first indentation names a folder.
    let mut in_list = false;
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut rooms: Vec<&str> = code.match_indices("crate::").map(|(at, path)| &code[at + path.len()..]).collect();
        if in_list && code.starts_with("    ") && !code.starts_with("     ") {
            rooms.push(code.trim_start());
        }
        in_list = (in_list || code.contains("use crate::{")) && !code.starts_with('}') && !code.contains("};");
        for path in rooms {
            let end = path.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(path.len());
            let to = &path[..end];
            // A macro is the crate's, wherever it is written.
            let is_room = to.starts_with(|letter: char| letter.is_ascii_lowercase()) && !path[end..].starts_with('!');
            if is_room && to != room && floor(to).is_none_or(|to| to > own) {
                found.push((number + 1, to.to_owned()));
            }
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn shared() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("shared/src")
}
