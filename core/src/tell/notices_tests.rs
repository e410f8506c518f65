//! Tests of the notes.
