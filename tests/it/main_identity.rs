mod identity;
mod world;
