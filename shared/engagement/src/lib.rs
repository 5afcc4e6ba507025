//! What the function that answers for campaigns and the one that sends them do alike: who is in an audience, what a launch asks for, and what a mail
//! becomes for a lead.

pub mod audience;
pub mod launch;
pub mod letter;
pub mod steps;
pub mod suppressed;
pub mod unsubscribing;
