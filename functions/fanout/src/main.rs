fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::worker::work::<fanout::Fanout>(records::ALL)
}
