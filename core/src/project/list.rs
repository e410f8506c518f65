//! The networks of a list with pattern files, as entries of the map of networks.

use alloc::format;
use alloc::sync::Arc;

use super::Piece;
use crate::action::MapId;
use crate::annotations::access::prefixes;
use crate::annotations::draft::ListSpec;
use crate::desired::Contribution;
use crate::world::lookup::Lookup;

/// The entries. A file that cannot be used has none: the routes that refer to it are closed.
pub fn project(lookup: &mut Lookup<'_>, id: &Arc<str>, spec: &ListSpec) -> Piece {
    let mut piece = Piece::default();
    let files = spec.files.iter().filter_map(|file| lookup.pattern(file));
    let of_files = files.filter_map(|file| file.networks.as_ref().ok()).flatten();
    let value: Arc<str> = "1".into();
    for prefix in prefixes(of_files.chain(&spec.networks)) {
        let key = format!("{id}:{prefix}").into();
        piece.contributions.push(Contribution::Map(MapId::Access, key, value.clone()));
    }
    piece
}
