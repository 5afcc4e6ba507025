fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::worker::work::<switchboard::Switchboard>(records::ALL)
}
