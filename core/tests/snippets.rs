//! `docs/snippets.md` names every directive that may stand in a place.

use std::path::Path;

use tidegate_core::snippet::{Place, directives};

#[test]
fn the_page_names_every_directive() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/snippets.md");
    let page = std::fs::read_to_string(path).unwrap();
    for place in Place::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| {} | `", place.name())));
        let row = row.unwrap_or_else(|| panic!("no row of directives for {}", place.name()));
        for directive in directives(place) {
            let word = format!("`{directive}`");
            assert!(row.contains(&word), "{}: {directive} is not in the page", place.name());
        }
    }
}
