//! Decoding of `v1/ConfigMap`. Which ConfigMap is the controller's own is for the source to know.

use tidegate_core::world::object::{ConfigMap, Meta};

/// The ConfigMap of its parts. `binaryData` is not read.
pub(super) fn config_map(meta: Meta, data: Vec<(Box<str>, Box<str>)>) -> ConfigMap {
    ConfigMap { meta, data: data.into_iter().collect() }
}
