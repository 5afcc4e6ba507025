mod limits;
mod properties;
mod races;
mod world;
