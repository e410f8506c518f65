//! No line of a snippet joins before HAProxy accepted it, and none leaves its place.

use tidegate_proptests::properties::snippets::{nothing_unjudged_joins, writing};
use tidegate_proptests::run::holds;

#[test]
fn no_line_joins_before_haproxy_accepted_it() {
    holds("nothing_unjudged_joins", 800, writing, nothing_unjudged_joins);
}
