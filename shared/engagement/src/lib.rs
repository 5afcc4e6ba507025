//! What the functions that answer for campaigns, send them and take in answers do alike: who is in an audience, what a launch asks for, what a mail becomes
//! for a lead, what follows when somebody wants no more, and how what a deleted lead left is erased.

pub mod active;
pub mod audience;
pub mod erasing;
pub mod followed;
pub mod kept;
pub mod launch;
pub mod lead_view;
pub mod letter;
pub mod steps;
pub mod suppressed;
pub mod unsubscribing;
