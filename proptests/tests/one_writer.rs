//! Of several replicas one tells, and it tells what is true, once.

use tidegate_proptests::cluster::case;
use tidegate_proptests::properties::telling::{
    lost_status_is_written_again, one_writer as property,
};
use tidegate_proptests::run::holds;

#[test]
fn one_writer() {
    holds("one_writer", 40, case, property);
}

#[test]
fn a_status_whose_write_was_lost_is_written_again() {
    lost_status_is_written_again().unwrap();
}
