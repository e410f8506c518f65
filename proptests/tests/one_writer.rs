//! Of several replicas one tells, and it tells what is true, once.

use tidegate_proptests::cluster::case;
use tidegate_proptests::properties::telling::one_writer as property;
use tidegate_proptests::run::holds;

#[test]
fn one_writer() {
    holds("one_writer", 40, case, property);
}
