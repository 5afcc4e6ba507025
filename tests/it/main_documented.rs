mod documented;
mod projects;
mod world;
