mod races;
mod world;
