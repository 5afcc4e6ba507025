//! What holds whatever the input.
