mod workers;
mod world;
