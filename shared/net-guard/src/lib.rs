//! Calls to URLs that strangers gave us. What may be called is judged twice: the URL itself, and each address that its name has at the moment of the
//! call. Only a judged address is dialled, over a connection of this call alone. It knows nothing of tenants, and depends on nothing else here.

mod address;
mod allowed;
mod call;
mod target;

pub use address::is_public;
pub use allowed::{Allowed, NotAllowable};
pub use call::{Answer, Caller, Failure, Outcome, Resolve, SystemResolver};
pub use target::{Guard, Refused, Target};
