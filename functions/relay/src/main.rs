fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::worker::work::<relay::Relay>(records::ALL)
}
