mod documented;
mod world;
