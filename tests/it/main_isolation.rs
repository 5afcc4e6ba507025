mod isolation;
mod world;
