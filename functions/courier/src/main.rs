fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::worker::work::<courier::Courier>(records::ALL)
}
