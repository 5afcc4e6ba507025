//! What the functions of messages to phones have in common.

pub mod campaigns;
pub mod inbound;
pub mod moving;
pub mod reports;
pub mod standings;
pub mod ways;
