//! `docs/annotations.md` is what the tables say. `BLESS=1 cargo test` writes it anew.

use tidegate_core::annotations::{FAMILIES, Scopes, reference};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/annotations.md");

#[test]
fn the_annotation_reference_is_current() {
    let page = reference::page();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    let differs = page.lines().zip(written.lines()).find(|(is, was)| is != was);
    assert!(
        page == written,
        "docs/annotations.md is not what the tables say; run BLESS=1 cargo test -p tidegate-core \
         --test reference. First difference: {differs:?}"
    );
}

#[test]
fn every_key_is_in_the_reference() {
    let page = reference::page();
    for row in FAMILIES.iter().flat_map(|family| family.keys) {
        assert!(page.contains(&format!("### `{}`", row.key)), "{}", row.key);
        let written = match row.scopes {
            Scopes::C => format!("  {}: ", row.key),
            Scopes::CI | Scopes::CIS | Scopes::I | Scopes::S => {
                format!("tidegate.io/{}: ", row.key)
            }
        };
        assert!(page.contains(&written), "{} has no example", row.key);
    }
}
